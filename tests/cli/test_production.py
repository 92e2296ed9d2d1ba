"""The production start as README tells it: one role owns and migrates, another serves and owns nothing."""

from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.deploy.test_postgresql_roles import statements, url
from tests.servers.modelward import Modelward
from tests.servers.postgresql import StoppablePostgresql


@pytest.fixture
def roles() -> Iterator[StoppablePostgresql]:
    """A PostgreSQL with the roles and the database of ``deploy/postgresql/roles.sql``."""
    server = StoppablePostgresql(durable=False)
    try:
        for statement in statements({"owner_password": "o", "login_password": "l"}):
            server.run(statement)
        yield server
    finally:
        server.close()


def test_the_steps_of_the_readme(
    modelward: Callable[..., Modelward], roles: StoppablePostgresql, redis_url: str
) -> None:
    server = modelward(
        database_url=url(roles, "modelward"),
        migration_url=url(roles, "modelward_owner"),
        redis_url=redis_url,
        workers=2,
    )
    refused = server.run("serve", check=False)
    assert refused.returncode == 1
    assert "modelward migrate" in refused.stderr

    server.run("migrate")
    operator = server.json("key", "create", "--platform-admin", "--name", "the operators")["api_key"]
    tenant = server.json("tenant", "create", "acme", "--plan", "standard")["api_key"]
    assert server.json("doctor")["ok"]
    server.start("serve")
    with httpx2.Client(base_url=server.url) as client:
        assert client.get("/v1/whoami", headers={"X-API-Key": tenant}).json()["tenant"] == "acme"
        assert client.get("/v1/admin/tenants", headers={"X-API-Key": operator}).status_code == 200
        server.run("tenant", "suspend", "acme")
        server.run("tenant", "delete", "acme", "--yes")
    assert server.json("sweep")["missing"] == []
    assert server.stop() == 0
