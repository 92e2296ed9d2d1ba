"""Health, metrics, the OpenAPI document and the page made from it."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from openapi_spec_validator import validate

from service import schema
from service.app import create_app
from service.config import Settings
from tests.api.callers import SECRET, Caller, World

METRICS_TOKEN = "a-token-of-a-scraper"


def settings_of(directory: Path, **more: Any) -> Settings:
    settings = Settings(data_dir=directory, secret_key=SECRET, **more)
    schema.upgrade(settings.resolved_database_url)
    return settings


def test_liveness_says_only_that_the_process_answers(nobody: Caller) -> None:
    assert nobody.get("/healthz").json == {"status": "ok"}


def test_readiness_names_each_dependency(nobody: Caller) -> None:
    ready = nobody.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "ready")
    dependencies = {name: each["status"] for name, each in ready.json["dependencies"].items()}
    assert dependencies == {"database": "ok", "redis": "unused", "artifacts": "ok"}


def test_a_look_at_the_dependencies_is_shared_for_a_second(tmp_path: Path) -> None:
    app = create_app(settings_of(tmp_path))
    services = app.extensions["modelward"]
    statements: list[str] = []
    sa.event.listen(services.database.engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
    client = app.test_client()
    assert {client.get("/readyz").json["status"] for _ in range(20)} == {"ready"}
    assert 1 <= statements.count("SELECT 1") <= 2
    services.close()


def test_a_worker_that_never_saw_its_database_is_unready(tmp_path: Path) -> None:
    url = "postgresql+psycopg://modelward:secret@127.0.0.1:1/modelward"
    app = create_app(Settings(data_dir=tmp_path, secret_key=SECRET, database_url=url))
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json["status"] == "unready"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json["dependencies"]["database"]["status"] == "away"
    assert not re.search("secret|psycopg|127.0.0.1", answer.text)
    app.extensions["modelward"].close()


def test_a_worker_whose_artifact_store_is_away_is_degraded(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    app = create_app(settings)
    artifacts = Path(settings.resolved_artifact_url)
    if artifacts.exists():
        artifacts.rmdir()
    artifacts.write_text("a file where a directory should be")
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert str(tmp_path) not in answer.text
    app.extensions["modelward"].close()


def test_a_worker_whose_redis_is_away_is_degraded(tmp_path: Path) -> None:
    app = create_app(settings_of(tmp_path, redis_url="redis://127.0.0.1:1"))
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert answer.json["dependencies"]["redis"]["status"] == "away"
    app.extensions["modelward"].close()


def test_metrics_need_the_scope_or_the_token(tmp_path: Path, acme: Caller, operator: Caller, nobody: Caller) -> None:
    assert [caller.get("/metrics").status_code for caller in (nobody, acme, operator)] == [401, 403, 200]
    assert operator.get("/metrics").mimetype == "text/plain"
    app = create_app(settings_of(tmp_path, metrics_token=METRICS_TOKEN))
    client = app.test_client()
    assert client.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}).status_code == 200
    assert client.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}x"}).status_code == 401
    app.extensions["modelward"].close()


def test_the_document_is_openapi_3_1(nobody: Caller) -> None:
    document = nobody.get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_each_operation_has_an_id_of_its_own(nobody: Caller) -> None:
    paths = nobody.get("/openapi.json").json["paths"].values()
    ids = [operation["operationId"] for path in paths for operation in path.values()]
    assert len(ids) == len(set(ids))


class Page(HTMLParser):
    """Notes what a page loads and which anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [values[name] or "" for name in ("href", "src") if name in values]


def test_the_page_loads_nothing_and_its_links_lead_somewhere(nobody: Caller) -> None:
    answer = nobody.get("/docs")
    page = Page(answer.text)
    assert answer.mimetype == "text/html"
    assert not page.tags & {"script", "img", "iframe", "link", "form", "object"}
    assert len(page.ids) == len(set(page.ids))
    assert {link for link in page.links if not link.startswith("#")} == {"/openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy


def test_the_page_shows_every_call_and_every_code(world: World, nobody: Caller) -> None:
    text = nobody.get("/docs").text
    document = nobody.get("/openapi.json").json
    for path in document["paths"]:
        assert path in text
    for code in ("duplicate_key", "signature_mismatch", "refresh_token_reused"):
        assert code in text
