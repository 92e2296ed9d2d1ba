"""``modelward up``: what it refuses before any work, and a first start that can be interrupted anywhere."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.bootstrap import Services
from service.cli.data_directory import DataDirectory, Quickstart
from service.cli.first_start import ALIAS, MODEL, TENANT, finish_first_start, iris
from service.cli.installation import operate
from service.cli.launch import base_url
from service.cli.up import first_request
from service.database import NEWEST
from service.errors import Unauthenticated
from service.predict.results import Caching
from service.registry.resolution import DefaultRef
from service.tenants.principal import PLATFORM_TENANT_ID, Principal
from service.tenants.scopes import Scope
from tests.cli.conftest import SECRET, CommandLine, Setting

URL = "http://127.0.0.1:8000"


class Start:
    """A start of ``modelward up`` but for its server, over the services of this process."""

    def __init__(self, services: Services, directory: DataDirectory) -> None:
        self.services = services
        self.directory = directory
        self.said: list[str] = []

    def finish(self, url: str = URL) -> Quickstart:
        return finish_first_start(self.services, self.directory, url, self.said.append)

    def stands(self, key: str) -> bool:
        try:
            self.services.keys.authenticate(key, "127.0.0.1")
        except Unauthenticated:
            return False
        return True

    def require_whole(self, quickstart: Quickstart) -> None:
        """Everything that a first start makes is there, once, and works."""
        operator = self.services.keys.authenticate(quickstart.admin_api_key, "127.0.0.1")
        assert operator.tenant_id == PLATFORM_TENANT_ID
        assert Scope.PLATFORM_ADMIN in operator.scopes
        principal = self.services.keys.authenticate(quickstart.api_key, "127.0.0.1")
        assert principal.tenant == TENANT
        assert principal.plan.slug == "standard"
        assert self.directory.quickstart() == quickstart
        assert [version.version for version in self.services.versions.list(principal, MODEL).data] == [1]
        assert self.services.aliases.get(principal, MODEL, ALIAS).version == 1
        for owner in (principal.tenant_id, PLATFORM_TENANT_ID):
            keys = self.services.keys.list(Principal.operator(), tenant_id=owner).data
            assert [key.status for key in keys].count("active") == 1


@contextmanager
def started(cli: CommandLine) -> Iterator[Start]:
    with operate() as services:
        yield Start(services, DataDirectory(cli.data_dir))


def test_the_first_start_makes_everything(migrated: CommandLine) -> None:
    with started(migrated) as start:
        quickstart = start.finish()
        start.require_whole(quickstart)
        assert len(start.said) == 3


def test_the_model_predicts_as_scikit_learn_does(migrated: CommandLine) -> None:
    rows = [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [7.7, 3.0, 6.1, 2.3]]
    with started(migrated) as start:
        principal = start.services.keys.authenticate(start.finish().api_key, "127.0.0.1")
        answer = start.services.predictor.predict(principal, MODEL, DefaultRef(), rows, ("predict",), Caching())
    expected = iris()
    del expected.feature_names_in_
    assert json.loads(answer.outputs_json) == {"predict": expected.predict(rows).tolist()}


def test_its_features_have_their_names(migrated: CommandLine) -> None:
    with started(migrated) as start:
        principal = start.services.keys.authenticate(start.finish().api_key, "127.0.0.1")
        signature = start.services.versions.get(principal, MODEL, 1).signature
    assert signature["inputs"][0]["name"] == "sepal length (cm)"


def test_a_second_start_finds_everything_and_changes_nothing(migrated: CommandLine) -> None:
    with started(migrated) as start:
        first = start.finish()
        written = (migrated.data_dir / "quickstart.json").stat().st_mtime_ns
        start.said.clear()
        assert start.finish() == first
        assert (migrated.data_dir / "quickstart.json").stat().st_mtime_ns == written
        assert start.said == []


def test_another_port_changes_the_url_alone(migrated: CommandLine) -> None:
    with started(migrated) as start:
        first = start.finish()
        second = start.finish("http://127.0.0.1:9000")
        assert second == Quickstart("http://127.0.0.1:9000", first.tenant, first.api_key, first.admin_api_key)
        start.require_whole(second)


def test_a_start_that_ended_after_the_tenant_was_made_is_finished(migrated: CommandLine) -> None:
    with started(migrated) as start:
        lost = start.services.tenants.create(Principal.operator(), TENANT, "Demo", "standard")[1].secret
        start.require_whole(start.finish())
        assert not start.stands(lost)


def test_a_start_that_ended_before_the_keys_were_written_is_finished(migrated: CommandLine) -> None:
    with started(migrated) as start:
        lost = start.finish()
        (migrated.data_dir / "quickstart.json").unlink()
        start.require_whole(start.finish())
        assert not start.stands(lost.api_key)
        assert not start.stands(lost.admin_api_key)


def test_keys_that_others_made_are_left_alone(migrated: CommandLine) -> None:
    with started(migrated) as start:
        start.finish()
        key = migrated.prints("key", "create", "--tenant", TENANT, "-q").strip()
        (migrated.data_dir / "quickstart.json").unlink()
        start.finish()
        assert start.stands(key)


@pytest.mark.parametrize("missing", ["api_key", "admin_api_key", "tenant"])
def test_a_quickstart_without_a_field_is_written_anew(migrated: CommandLine, missing: str) -> None:
    with started(migrated) as start:
        start.finish()
        path = migrated.data_dir / "quickstart.json"
        fields = json.loads(path.read_text())
        del fields[missing]
        path.write_text(json.dumps(fields))
        start.require_whole(start.finish())


def test_keys_of_another_database_are_replaced(migrated: CommandLine) -> None:
    with started(migrated) as start:
        start.directory.write_quickstart(Quickstart(URL, TENANT, "mw_a", "mw_b"))
        start.require_whole(start.finish())


def test_a_suspended_tenant_stays_suspended(migrated: CommandLine) -> None:
    with started(migrated) as start:
        first = start.finish()
        start.services.tenants.suspend(Principal.operator(), TENANT, "on purpose")
        assert start.finish() == first
        assert start.services.tenants.get(TENANT).status == "suspended"


def test_the_request_can_be_pasted() -> None:
    request = shlex.split(first_request(Quickstart("http://[::1]:9000", "demo", "mw_a", "mw_b")))
    assert request[:3] == ["curl", "-s", "http://[::1]:9000/v1/models/iris/predict"]
    assert "X-API-Key: mw_a" in request
    assert json.loads(request[-1]) == {"inputs": [[5.1, 3.5, 1.4, 0.2]]}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_url_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    assert base_url(host, 80) == url


def test_several_workers_without_redis_are_refused(cli: CommandLine) -> None:
    assert "MODELWARD_REDIS_URL" in cli.refuses("up", "--workers", "2")
    assert not cli.data_dir.exists()


def test_a_weak_secret_key_is_refused(cli: CommandLine, setting: Setting) -> None:
    setting("SECRET_KEY", "short")
    assert "MODELWARD_SECRET_KEY" in cli.refuses("up")
    assert not cli.data_dir.exists()


def test_a_port_in_use_is_refused_before_any_work(cli: CommandLine, taken_port: int) -> None:
    assert f"127.0.0.1:{taken_port}" in cli.refuses("up", "--port", str(taken_port))
    assert [path.name for path in cli.data_dir.iterdir()] == ["up.lock"]


def test_a_directory_that_cannot_be_written_to_is_refused(cli: CommandLine) -> None:
    assert len(cli.refuses("up", "--data-dir", "/proc/self").splitlines()) == 1


def test_a_database_of_a_newer_release_is_refused_before_any_work(migrated: CommandLine, newer: None) -> None:
    assert "9999" in migrated.refuses("up", "--port", "0")
    assert not (migrated.data_dir / "quickstart.json").exists()


def test_a_lost_secret_key_is_not_replaced(migrated: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELWARD_SECRET_KEY")
    assert "secret.key is gone" in migrated.refuses("up", "--port", "0")
    assert not (migrated.data_dir / "secret.key").exists()


def test_another_secret_key_than_the_databases_is_refused(migrated: CommandLine, setting: Setting) -> None:
    migrated.prints("tenant", "create", "acme")
    setting("SECRET_KEY", SECRET[::-1])
    assert "not the one that this database was made with" in migrated.refuses("up", "--port", "0")


def test_the_other_commands_take_the_generated_key(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELWARD_SECRET_KEY")
    directory = DataDirectory(cli.data_dir)
    directory.prepare()
    directory.generate_secret()
    cli.prints("migrate")
    assert cli.json("tenant", "create", "acme")["api_key"].startswith("mw_")
    assert NEWEST in cli.prints("migrate", "--check")
