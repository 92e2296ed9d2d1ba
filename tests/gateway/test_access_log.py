"""One line for each request, and nothing secret in it."""

import json
import logging
import re
import time
from datetime import UTC, datetime

import pytest
from flask import Response

from service.gateway.access_log import AccessLog
from service.gateway.context import Exchange
from tests.gateway.application import Running
from tests.gateway.conftest import Start


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_request_is_one_line_that_says_whose_and_which_call(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    running.ask("/models/iris", key=running.key, headers={"X-Request-Id": "mine"})
    (line,) = lines(capsys)
    assert line["request_id"] == "mine"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/models/<model>", 200)
    assert (line["tenant"], line["level"]) == ("acme", "info")
    assert str(line["subject"]).startswith("key_")
    assert line["bytes"] == len("iris")
    assert 0 <= float(str(line["ms"])) < 10_000


def test_every_value_of_a_line_is_json_whatever_it_holds(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(UTC)
    for request_id in ("a.b_c-d", 'quo"te', None):
        headers = {} if request_id is None else {"X-Request-Id": request_id}
        running.ask("/models/iris", key=running.key, method='B"REW\\', headers=headers)
    first, second, third = lines(capsys)
    assert first["request_id"] == "a.b_c-d"
    assert all(re.fullmatch("req_[0-9a-f]{24}", str(line["request_id"])) for line in (second, third))
    assert first["method"] == 'B"REW\\'
    assert before <= datetime.fromisoformat(str(first["timestamp"])) <= datetime.now(UTC)


def test_lines_that_gather_are_all_written_in_their_order(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("info")
    log.start()
    exchange = Exchange({"REQUEST_METHOD": "GET"}, running.services, "", time.perf_counter())
    written = [f"req_{number}" for number in range(2500)]
    for exchange.request_id in written:
        log.write(exchange, Response())
    log.close()
    assert [line["request_id"] for line in lines(capsys)] == written


def test_no_credential_query_or_body_is_in_any_line(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    token = running.token()
    running.raises = RuntimeError("a fault")
    running.ask("/any", key=running.key)
    running.ask("/any", headers={"Authorization": f"Bearer {token}"})
    running.ask("/any", key="mw_canary-key")
    running.ask("/raise?secret=canary-query", method="GET", headers={"Cookie": "canary-cookie"})
    running.ask("/canary-path")
    running.ask("/documents", method="POST", data=b'{"canary-body": 1}')
    printed = capsys.readouterr().out
    assert "canary" not in printed
    assert running.key not in printed
    assert token not in printed


def test_a_refusal_has_its_code(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.ask("/any", key="mw_wrong")
    (line,) = lines(capsys)
    assert (line["status"], line["code"], line["tenant"]) == (401, "invalid_api_key", None)


def test_the_level_is_honoured(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    running = start(log_level="error")
    running.ask("/public")
    logging.getLogger("service.anything").warning("quiet")
    assert capsys.readouterr().out == ""
    running.raises = RuntimeError("a fault")
    running.ask("/raise")
    assert [line["level"] for line in lines(capsys)] == ["error"]


def test_the_standard_library_logs_in_the_same_form(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    del running
    logging.getLogger("service.anything").warning("something %s", "odd")
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("something odd", "warning", "service.anything")
