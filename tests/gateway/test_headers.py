"""What every response carries."""

import pytest

from tests.gateway.application import Running
from tests.gateway.conftest import Start

PATHS = ["/public", "/any", "/nowhere", "/raise", "/documents"]


@pytest.mark.parametrize("path", PATHS)
def test_every_response_carries_the_security_headers(running: Running, path: str) -> None:
    running.raises = RuntimeError("a fault")
    fields = running.ask(path).headers
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert fields["Referrer-Policy"] == "no-referrer"
    assert fields["Cross-Origin-Resource-Policy"] == "same-origin"
    assert fields["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in fields
    assert "Set-Cookie" not in fields
    assert fields["X-Request-Id"]


def test_a_response_over_tls_asks_for_tls(start: Start) -> None:
    assert "Strict-Transport-Security" in start().ask("/public", base_url="https://localhost").headers
    behind = start(trusted_hops=1)
    assert "Strict-Transport-Security" in behind.ask("/public", headers={"X-Forwarded-Proto": "https"}).headers


def test_a_forwarded_scheme_is_believed_from_nobody_by_default(running: Running) -> None:
    assert "Strict-Transport-Security" not in running.ask("/public", headers={"X-Forwarded-Proto": "https"}).headers


@pytest.mark.parametrize("sent", ["a", "0194-abc_X.y", "a" * 128])
def test_a_plain_request_id_is_kept(running: Running, sent: str) -> None:
    assert running.ask("/public", headers={"X-Request-Id": sent}).headers["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", ["", " ", "a b", "a" * 129, "ä", '"}{', "<script>"])
def test_another_request_id_is_replaced(running: Running, sent: str) -> None:
    given = running.ask("/public", headers={"X-Request-Id": sent}).headers["X-Request-Id"]
    assert given.startswith("req_")
    assert given != running.ask("/public").headers["X-Request-Id"]


def preflight(running: Running, origin: str) -> dict[str, str]:
    fields = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    response = running.ask("/any", method="OPTIONS", headers=fields)
    return {"status": str(response.status_code), **dict(response.headers)}


def test_browsers_of_other_sites_are_let_in_by_no_default(running: Running) -> None:
    response = running.ask("/public", headers={"Origin": "https://evil.example"})
    assert not [name for name in dict(response.headers) if name.startswith("Access-Control")]
    assert preflight(running, "https://evil.example")["status"] == "405"


def test_a_named_origin_is_let_in_and_no_other(start: Start) -> None:
    running = start(cors_origins="https://app.example, https://two.example")
    response = running.ask("/any", key=running.key, headers={"Origin": "https://app.example"})
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert response.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "RateLimit" in response.headers["Access-Control-Expose-Headers"]
    asked = preflight(running, "https://two.example")
    assert asked["status"] == "204"
    assert asked["Access-Control-Allow-Origin"] == "https://two.example"
    assert "X-API-Key" in asked["Access-Control-Allow-Headers"]
    for other in ("https://app.example.evil", "http://app.example", "null", "https://APP.example"):
        assert "Access-Control-Allow-Origin" not in running.ask("/public", headers={"Origin": other}).headers
        assert preflight(running, other)["status"] == "405"
