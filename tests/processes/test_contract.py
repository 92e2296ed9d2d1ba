"""The running server keeps to its own OpenAPI document, whatever is sent to it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.calling import Caller
from tests.processes.estimators import constant
from tests.servers.modelward import Modelward

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SECONDS = 280

ACCEPTANCES = ["2xx", "3xx", 401, 403, 404, 409, 429]
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]

# What a schema cannot say, so that a body which fits it may still be refused: that rows fit the model or one another,
# that a plan exists, that a moment is still to come, what the bytes of an upload are.
REFUSED_BY_MEANING = {
    (422,): [
        "linear_regression",
        "support_vector_machine",
        "predict_array",
        "predict",
        "predict_alias",
        "predict_version",
        "create_tenant",
        "change_tenant",
        "create_key",
        "change_key",
    ],
    (415, 422): ["upload_version"],
}

# Operations that end what they are given get a thing of their own to end.
SPARE = {
    "delete_model": {"path.model": "spare-model"},
    "delete_version": {"path.model": "spare-version", "path.version": 1},
    "delete_alias": {"path.model": "spare-alias", "path.alias": "production"},
    "quarantine_version": {"path.tenant": "acme", "path.model": "spare", "path.version": 1},
    "release_version": {"path.tenant": "acme", "path.model": "spare", "path.version": 1},
    "delete_tenant": {"path.tenant": "spare-tenant"},
    "suspend_tenant": {"path.tenant": "spare-suspended"},
}


class Target:
    """A server with something behind each name that the paths of its interface take."""

    def __init__(self, server: Modelward) -> None:
        self.server = server
        server.run("migrate")
        self.key = server.json("key", "create", "--platform-admin")["api_key"]
        tenants = {name: server.json("tenant", "create", name) for name in ("acme", "spare-tenant", "spare-suspended")}
        server.start()
        with Caller(server.url, self.key) as operator:
            for model, alias in (
                ("iris", True),
                ("spare-model", True),
                ("spare-version", False),
                ("spare-alias", True),
            ):
                operator.uploaded(model, constant(1.0, features=4), **({"alias": "production"} if alias else {}))
            self.keys = [self._spare_key(operator) for _ in range(3)]
            plan = {"slug": "spare", "name": "Spare", "max_models": 1, "max_bytes": 1, "max_body_bytes": 1024}
            made = operator.client.post("/v1/admin/plans", json=plan | {"max_concurrency": 1})
            assert made.status_code == 201, made.text
        with Caller(server.url, tenants["acme"]["api_key"]) as acme:
            acme.uploaded("spare", constant(1.0))

    def _spare_key(self, operator: Caller) -> str:
        made = operator.client.post("/v1/keys", json={"name": "spare", "scopes": ["models:read"]})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def configuration(self) -> str:
        """The run's configuration: what to put into paths, and what may be answered beyond the defaults."""
        lines = [
            f'hooks = "{HOOKS}"',
            '[parameters]\n"path.model" = "iris"\n"path.version" = 1\n"path.alias" = "production"',
            f'"query.model" = "iris"\n"path.tenant" = "acme"\n"path.plan" = "spare"\n"path.key" = "{self.keys[0]}"',
            f"[checks]\nnegative_data_rejection.expected-statuses = {REFUSALS}",
        ]
        spare = SPARE | {"revoke_key": {"path.key": self.keys[1]}, "rotate_key": {"path.key": self.keys[2]}}
        for operation, parameters in spare.items():
            lines.append(f'[[operations]]\ninclude-operation-id = "{operation}"\n[operations.parameters]')
            lines += [f'"{name}" = {value!r}' for name, value in parameters.items()]
        for statuses, operations in REFUSED_BY_MEANING.items():
            lines.append(f"[[operations]]\ninclude-operation-id = {operations}\n[operations.checks]")
            lines.append(f"positive_data_acceptance.expected-statuses = {[*ACCEPTANCES, *statuses]}")
        return "\n".join(lines)


@pytest.fixture
def target(tmp_path: Path, production_settings: dict[str, object]):
    server = Modelward(
        tmp_path, **production_settings, failed_logins_per_minute=1_000_000, public_requests_per_minute=1_000_000
    )
    try:
        yield Target(server)
    finally:
        server.stop()


def test_schemathesis_finds_no_failure(target: Target, tmp_path: Path, long: bool) -> None:
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(target.configuration())
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from schemathesis.cli import schemathesis; schemathesis()",
            f"--config-file={configuration}",
            "run",
            f"{target.server.url}/openapi.json",
            f"--header=X-API-Key: {target.key}",
            f"--max-examples={50 if long else 8}",
            "--seed=1",
            "--request-timeout=30",
            "--no-color",
            "--warnings=off",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A run that had lost its credential on the way would have tested nothing from there on.
    with Caller(target.server.url, target.key) as operator:
        assert operator.client.get("/v1/whoami").status_code == 200
