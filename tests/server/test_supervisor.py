"""Workers that fail, and signals that come at bad moments."""

import os
import signal
import time
from pathlib import Path

from service.server.backoff import FIRST_SECONDS, MOST_SECONDS, Backoff
from service.server.supervisor import MOST_SUCCESSORS
from tests.server.running import Server, Start, seconds_since, status
from tests.server.test_processes import is_gone
from tests.servers.subprocesses import wait_until

EARLY, LATE = "before it was ready", "after it was ready"


def failures(server: Server, when: str) -> int:
    return server.child.text().count(when)


def test_pauses_grow_to_a_bound_and_end_with_the_row() -> None:
    backoff = Backoff()
    pauses = [backoff.failed(0) for _ in range(12)]
    assert pauses[:4] == [0, FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert pauses[-1] == backoff.seconds_left(0) == MOST_SECONDS
    assert backoff.seconds_left(MOST_SECONDS + 1) == 0
    backoff.succeeded()
    assert backoff.failed(0) == 0


def test_a_successor_that_fails_is_tried_again(start: Start, tmp_path: Path) -> None:
    server = start(target="halting")
    before = server.workers()
    (tmp_path / "broken").touch()
    server.child.send(signal.SIGHUP)
    wait_until(lambda: failures(server, EARLY) >= 2, "a second successor was tried")
    assert status(server.get("/echo")) == 200
    (tmp_path / "broken").unlink()
    wait_until(lambda: len(server.workers()) == 1 and server.workers() != before, "the worker is replaced")
    assert status(server.get("/echo")) == 200
    assert server.child.stop() == 0


def test_workers_stay_when_one_successor_after_the_other_fails(start: Start, tmp_path: Path) -> None:
    server = start(target="halting", workers=2)
    wait_until(lambda: len(server.workers()) == 2, "both are there")
    before = server.workers()
    (tmp_path / "broken").touch()
    server.child.send(signal.SIGHUP)
    wait_until(lambda: "are kept" in server.child.text(), "it is given up")
    assert failures(server, EARLY) == MOST_SUCCESSORS
    assert server.workers() == before
    (tmp_path / "broken").unlink()
    server.child.send(signal.SIGHUP)
    wait_until(lambda: not set(before) & set(server.workers()), "both are replaced at the next signal")
    assert status(server.get("/echo")) == 200
    assert server.child.stop() == 0


def test_workers_that_die_once_they_are_ready_come_back_ever_more_slowly(start: Start, tmp_path: Path) -> None:
    server = start(target="mortal")
    (tmp_path / "broken").touch()
    os.kill(server.workers()[0], signal.SIGKILL)
    wait_until(lambda: failures(server, LATE) >= 1, "the first is missed")
    began = time.monotonic()
    wait_until(lambda: failures(server, LATE) >= 5, "four more have died")
    assert seconds_since(began) > FIRST_SECONDS * (1 + 2 + 4)
    (tmp_path / "broken").unlink()
    assert status(server.get("/echo")) == 200
    assert server.child.stop() == 0


def test_a_stop_while_a_worker_starts_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    (tmp_path / "halt").touch()
    server = start(target="halting", ready=False, drain_seconds=30)
    wait_until((tmp_path / "starting").exists, "it starts")
    (worker,) = server.workers()
    began = time.monotonic()
    assert server.child.stop() == 0
    assert seconds_since(began) < 30
    assert is_gone(worker)


def test_a_stop_in_the_middle_of_a_replacement_ends_old_and_new(start: Start, tmp_path: Path) -> None:
    server = start(target="halting", workers=2, drain_seconds=30)
    wait_until(lambda: len(server.workers()) == 2, "both are there")
    (tmp_path / "halt").touch()
    server.child.send(signal.SIGHUP)
    wait_until(lambda: len(server.workers()) == 3, "a successor starts")
    workers = server.workers()
    assert status(server.get("/echo")) == 200
    assert server.child.stop() == 0
    assert all(map(is_gone, workers))


def test_a_second_hangup_replaces_the_successor_too(start: Start, tmp_path: Path) -> None:
    server = start(target="halting")
    before = server.workers()
    (tmp_path / "halt").touch()
    server.child.send(signal.SIGHUP)
    wait_until(lambda: len(server.workers()) == 2, "a successor starts")
    server.child.send(signal.SIGHUP)
    both = server.workers()
    (tmp_path / "halt").unlink()
    assert set(before) < set(both)
    wait_until(lambda: len(server.workers()) == 1 and not set(both) & set(server.workers()), "both are replaced")
    assert status(server.get("/echo")) == 200
    assert server.child.stop() == 0
