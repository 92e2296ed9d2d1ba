"""`deploy/nginx/nginx.conf`: its structure always, and nginx's own check where nginx is at hand."""

import re
import shutil
import subprocess
from pathlib import Path

from service.config import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
TEXT = (DEPLOY / "nginx" / "nginx.conf").read_text()


def directives() -> dict[str, list[str]]:
    """Every directive's arguments, by its name; quoted text and comments are left out of the search for ends."""
    found: dict[str, list[str]] = {}
    token = re.compile(r"""\s*(?:\#[^\n]*|((?:'[^']*'|"[^"]*"|[^;{}'"\#])+)([;{])|(\}))""")
    position = depth = 0
    while position < len(TEXT.rstrip()):
        match = token.match(TEXT, position)
        assert match, f"not understood: {TEXT[position : position + 60]!r}"
        position = match.end()
        if match[1]:
            name, _, arguments = match[1].strip().partition(" ")
            found.setdefault(name, []).append(" ".join(arguments.split()))
        depth += (match[2] == "{") - (match[3] == "}")
        assert depth >= 0
    assert depth == 0
    return found


def seconds(argument: str) -> int:
    return int(argument.removesuffix("s"))


def test_requests_are_buffered_and_slow_clients_are_dropped() -> None:
    found = directives()
    assert found["proxy_request_buffering"] == ["on"]
    for name in ("client_header_timeout", "client_body_timeout", "send_timeout"):
        assert seconds(found[name][0]) <= Settings().body_seconds


def test_the_largest_body_is_the_largest_that_a_plan_may_allow() -> None:
    (largest,) = directives()["client_max_body_size"]
    assert int(largest.removesuffix("m")) << 20 == Settings().body_bytes


def test_nginx_waits_longer_than_an_admission_or_the_rows_of_a_file_may_take() -> None:
    (wait,) = directives()["proxy_read_timeout"]
    assert seconds(wait) > max(Settings().admission_seconds, Settings().bulk_seconds)


def test_what_a_client_says_about_its_address_is_replaced() -> None:
    headers = dict(line.split(" ", 1) for line in directives()["proxy_set_header"])
    assert headers["X-Forwarded-For"] == "$remote_addr"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["Forwarded"] == headers["X-Forwarded-Host"] == headers["X-Forwarded-Prefix"] == '""'


def test_it_speaks_modern_tls_only_and_never_plain_http() -> None:
    found = directives()
    assert found["ssl_protocols"] == ["TLSv1.2 TLSv1.3"]
    assert all(argument.endswith(" ssl") for argument in found["listen"])


def test_metrics_are_not_served_to_the_outside() -> None:
    assert re.search(r"location = /metrics \{\s*return 404;\s*\}", TEXT)


def test_nginx_itself_accepts_the_file(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        assert directives()["events"] == [""]
        return
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    subprocess.run([DEPLOY / "prepare", tmp_path / "secrets"], check=True, capture_output=True)
    text = TEXT.replace("/etc/nginx/tls", str(tmp_path / "secrets" / "tls"))
    text = text.replace("modelward:8000", "127.0.0.1:8000").replace("/run/nginx.pid", str(tmp_path / "nginx.pid"))
    if tuple(map(int, version.rsplit("/", 1)[1].split()[0].split("."))) < (1, 25, 1):
        text = text.replace("http2 on;", "")
    (tmp_path / "nginx.conf").write_text(text)
    checked = subprocess.run(
        [nginx, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", "stderr"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
