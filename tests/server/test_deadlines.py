"""A caller says how long it waits, and nothing works for one who does not wait any more."""

import pytest

from tests.server.running import Server, is_answered, one_response, received, status
from tests.server.test_lanes import head


def ask(server: Server, path: str, milliseconds: str, *fields: str) -> bytes:
    return server.ask(head("GET", path, f"X-Request-Timeout-Ms: {milliseconds}", "Connection: close", *fields))


def test_a_caller_who_waits_long_enough_is_answered(server: Server) -> None:
    assert status(ask(server, "/slow/10", "5000")) == 200


def test_a_request_that_waits_for_a_place_is_given_up_in_time(server: Server) -> None:
    busy = [server.connect() for _ in range(4)]
    for connection in busy:
        connection.sendall(head("GET", "/slow/2000", "X-Caller: busy"))
    late = ask(server, "/slow/1", "200", "X-Caller: busy")
    assert status(late) == 504
    assert late.endswith(b"deadline_exceeded")
    assert not is_answered(*busy)
    assert [one_response(connection)[1] for connection in busy] == [b"slow"] * 4
    for connection in busy:
        connection.close()


def test_the_time_begins_when_a_request_has_come_and_not_when_it_has_its_turn(server: Server) -> None:
    late = head("GET", "/echo", "X-Request-Timeout-Ms: 100", "Connection: close")
    with server.connect() as connection:
        connection.sendall(head("GET", "/slow/400", "X-Caller: first") + late)
        answers = received(connection)
    assert answers.index(b"slow") < answers.index(b"504 Gateway Timeout")
    assert answers.endswith(b"deadline_exceeded")


@pytest.mark.parametrize("milliseconds", ["0", "-1", "1.5", "soon", "9999999", "1e3"])
def test_a_time_that_is_none_is_400(server: Server, milliseconds: str) -> None:
    assert status(ask(server, "/echo", milliseconds)) == 400
