"""A confined child can compute and answer, and nothing else; and whatever becomes of it, the next call works."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.confinement import Confinement, Limits
from service.errors import ChildFailed, DeadlineExceeded, Finding, Rejected, Unavailable

SHORT = Limits(seconds=20, cpu_seconds=1, memory_bytes=256 << 20)


def target(name: str) -> str:
    return f"tests.confinement.targets:{name}"


@pytest.fixture(scope="module")
def confinement() -> Iterator[Confinement]:
    confinement = Confinement(preload=["tests.confinement.targets"], places=8)
    confinement.start()
    yield confinement
    confinement.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def works(confinement: Confinement) -> bool:
    return confinement.call(target("echo"), b"still here", SHORT) == b"still here"


def test_bytes_go_in_and_come_out(confinement: Confinement) -> None:
    payload = os.urandom(3 << 20)

    assert confinement.call(target("echo"), memoryview(payload)) == payload


def test_a_refusal_comes_back_as_it_was_raised(confinement: Confinement) -> None:
    with pytest.raises(Rejected) as refusal:
        confinement.call(target("refuse"), b"", SHORT)

    assert refusal.value.detail == "No."
    assert refusal.value.reason == "for_a_test"
    assert refusal.value.findings == (Finding("there", "is wrong"),)


def test_an_unforeseen_failure_tells_nobody_of_its_inside(
    confinement: Confinement, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ChildFailed) as failure:
        confinement.call(target("fail"), b"", SHORT)

    assert failure.value.reason == "child_crashed"
    assert "never seen" not in failure.value.detail + caplog.text
    assert "A confined call failed" in caplog.text


def test_no_connection_can_be_made(confinement: Confinement, listener: socket.socket) -> None:
    port = str(listener.getsockname()[1]).encode()

    assert confinement.call(target("open_socket"), port, SHORT).startswith(b"refused")
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("attempt", ["read_file", "write_file", "truncate_file", "remove_file"])
def test_no_file_can_be_touched(attempt: str, confinement: Confinement, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"kept")

    assert confinement.call(target(attempt), str(path).encode(), SHORT).startswith(b"refused")
    assert path.read_bytes() == b"kept"


def test_no_file_can_be_made(confinement: Confinement, tmp_path: Path) -> None:
    assert confinement.call(target("write_file"), str(tmp_path / "new").encode(), SHORT).startswith(b"refused")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "attempt",
    ["execute", "start_process", "fork", "start_thread", "signal_parent", "open_local_socket", "raise_limits"],
)
def test_nothing_reaches_out_of_the_process(attempt: str, confinement: Confinement) -> None:
    assert confinement.call(target(attempt), b"", SHORT).startswith(b"refused")
    assert works(confinement)


def test_nothing_can_be_traced(confinement: Confinement) -> None:
    assert confinement.call(target("trace"), b"", SHORT) == b"Operation not permitted"


def test_four_gigabytes_are_too_many(confinement: Confinement) -> None:
    with pytest.raises(ChildFailed) as failure:
        confinement.call(target("allocate"), b"4294967296", SHORT)

    assert failure.value.reason == "child_out_of_memory"
    assert confinement.call(target("allocate"), b"1048576", SHORT) == b"1048576"


def test_a_spinning_child_uses_up_its_processor_time(confinement: Confinement) -> None:
    with pytest.raises(DeadlineExceeded):
        confinement.call(target("spin"), b"", SHORT)

    assert works(confinement)


def test_a_child_that_ignores_the_signal_is_killed_a_second_later(confinement: Confinement) -> None:
    with pytest.raises(ChildFailed) as failure:
        confinement.call(target("spin_deaf"), b"", SHORT)

    assert failure.value.reason == "child_killed"
    assert works(confinement)


def test_a_child_that_waits_is_given_up_and_killed(confinement: Confinement) -> None:
    begun = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        confinement.call(target("sleep"), b"", Limits(seconds=0.5))

    assert time.monotonic() - begun < 60
    assert works(confinement)
    assert eventually(lambda: children_of(confinement) == [])


@pytest.mark.parametrize("death", ["crash", "leave"])
def test_a_death_is_reported_and_the_next_call_works(death: str, confinement: Confinement) -> None:
    with pytest.raises(ChildFailed) as failure:
        confinement.call(target(death), b"", SHORT)

    assert failure.value.reason == "child_crashed"
    assert works(confinement)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff" * 64,
        (2).to_bytes(4, "big") + (0).to_bytes(8, "big") + b"[]",
        (16).to_bytes(4, "big") + (0).to_bytes(8, "big") + b'{"error":"type"}',
        (16).to_bytes(4, "big") + (0).to_bytes(8, "big") + b"{{{{{{{{{{{{{{{{",
    ],
)
def test_a_child_that_was_taken_over_cannot_answer_nonsense(nonsense: bytes, confinement: Confinement) -> None:
    with pytest.raises(ChildFailed) as failure:
        confinement.call(target("babble"), nonsense, SHORT)

    assert failure.value.reason == "child_crashed"


def test_an_answer_larger_than_allowed_is_not_read(confinement: Confinement) -> None:
    with pytest.raises(ChildFailed):
        confinement.call(target("echo"), bytes(2048), Limits(answer_bytes=1024))


def test_no_variable_of_this_process_reaches_a_child(confinement: Confinement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWARD_SECRET_KEY", "canary")
    with contextlib.closing(Confinement(preload=["tests.confinement.targets"])) as fresh:
        facts = json.loads(fresh.call(target("environment"), b"", SHORT))

    assert "canary" not in json.dumps(facts)
    assert not [name for name in facts["variables"] if name.startswith("MODELWARD")]
    assert facts["variables"]["OMP_NUM_THREADS"] == "1"


def test_the_fork_server_has_one_thread_and_nothing_open_but_its_own(confinement: Confinement) -> None:
    assert works(confinement)
    server = Path(f"/proc/{server_of(confinement)}")

    assert len(list((server / "task").iterdir())) == 1
    # The standard three, the door, a pair to be woken by, and the selector.
    assert eventually(lambda: len(list((server / "fd").iterdir())) <= 7)


def test_calls_run_beside_each_other_and_get_their_own_answers(confinement: Confinement) -> None:
    payloads = [f"answer {number}".encode() for number in range(64)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda payload: confinement.call(target("echo"), payload, SHORT), payloads))

    assert answers == payloads


def test_a_late_answer_never_reaches_the_next_caller(confinement: Confinement) -> None:
    for number in range(20):
        with contextlib.suppress(DeadlineExceeded):
            confinement.call(target("echo"), b"late", Limits(seconds=0.001))
        assert confinement.call(target("echo"), str(number).encode(), SHORT) == str(number).encode()


def test_a_killed_fork_server_is_started_again(confinement: Confinement) -> None:
    assert works(confinement)
    before = server_of(confinement)

    os.kill(before, signal.SIGKILL)

    assert works(confinement)
    assert server_of(confinement) != before


def test_a_killed_fork_server_is_back_in_no_time(confinement: Confinement) -> None:
    """What it has imported is not imported again, which would take a hundred times as long."""
    assert works(confinement)
    keeper = parent_of(server_of(confinement))
    for _ in range(5):
        os.kill(server_of(confinement), signal.SIGKILL)
        assert works(confinement)
    assert parent_of(server_of(confinement)) == keeper


def test_a_fork_server_is_started_again_where_what_keeps_it_was_killed(confinement: Confinement) -> None:
    assert works(confinement)
    before = server_of(confinement)
    os.kill(parent_of(before), signal.SIGKILL)
    assert works(confinement)
    assert server_of(confinement) != before


def test_a_call_under_way_survives_the_death_of_its_fork_server(confinement: Confinement) -> None:
    assert works(confinement)
    before = server_of(confinement)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(confinement.call, target("spin"), b"", SHORT)
        assert eventually(lambda: children_of(confinement) != [])
        os.kill(before, signal.SIGKILL)
        with pytest.raises(DeadlineExceeded):
            pending.result()

    assert server_of(confinement) != before


def test_the_children_of_a_killed_fork_server_die_with_it(confinement: Confinement) -> None:
    assert works(confinement)
    assert eventually(lambda: children_of(confinement) == [])
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(confinement.call, target("sleep"), b"", Limits(seconds=2))
        assert eventually(lambda: children_of(confinement) != [])
        (orphan,) = children_of(confinement)
        os.kill(server_of(confinement), signal.SIGKILL)

        assert eventually(lambda: not Path(f"/proc/{orphan}").exists())
        with pytest.raises(DeadlineExceeded):
            pending.result()


def test_one_call_too_many_is_turned_away() -> None:
    with contextlib.closing(Confinement(preload=["tests.confinement.targets"], places=1)) as narrow:
        assert works(narrow)
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(narrow.call, target("sleep"), b"", Limits(seconds=3))
            assert eventually(lambda: children_of(narrow) != [])
            with pytest.raises(Unavailable) as refusal:
                narrow.call(target("echo"), b"", Limits(seconds=0.1))
            with pytest.raises(DeadlineExceeded):
                pending.result()

    assert refusal.value.reason == "confinement_busy"
    assert refusal.value.retry_after is not None


def test_an_owner_leaves_a_place_to_others() -> None:
    with contextlib.closing(Confinement(preload=["tests.confinement.targets"], places=2)) as shared:
        assert works(shared)
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(shared.call, target("sleep"), b"", Limits(seconds=3), owner="busy")
            assert eventually(lambda: children_of(shared) != [])
            with pytest.raises(Unavailable):
                shared.call(target("echo"), b"", Limits(seconds=0.1), owner="busy")
            assert shared.call(target("echo"), b"other", SHORT, owner="other") == b"other"
            with pytest.raises(DeadlineExceeded):
                pending.result()
        assert shared.call(target("echo"), b"again", SHORT, owner="busy") == b"again"


def test_a_fork_server_that_cannot_start_is_unavailable() -> None:
    with contextlib.closing(Confinement(preload=["no.such.module"])) as broken, pytest.raises(Unavailable) as refusal:
        broken.call(target("echo"), b"", SHORT)

    assert refusal.value.reason == "confinement_unavailable"


def test_a_forked_worker_shares_the_fork_server_and_does_not_end_it(confinement: Confinement) -> None:
    assert works(confinement)
    before = server_of(confinement)
    read, write = os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            ok = works(confinement) and server_of(confinement) == before
            confinement.close()
            os.write(write, b"1" if ok else b"0")
        finally:
            os._exit(0)
    os.waitpid(worker, 0)

    assert os.read(read, 1) == b"1"
    assert server_of(confinement) == before
    assert works(confinement)
    os.close(read)
    os.close(write)


def test_the_children_of_a_killed_worker_die_with_it_whoever_else_uses_the_fork_server(
    confinement: Confinement,
) -> None:
    assert works(confinement)
    worker = os.fork()
    if worker == 0:
        try:
            confinement.call(target("sleep"), b"", Limits(seconds=60))
        finally:
            os._exit(0)
    assert eventually(lambda: children_of(confinement) != [])
    (orphan,) = children_of(confinement)

    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)

    assert eventually(lambda: not Path(f"/proc/{orphan}").exists())
    assert works(confinement)


def test_a_forked_worker_is_served_by_the_fork_server_that_replaces_a_killed_one(confinement: Confinement) -> None:
    assert works(confinement)
    before = server_of(confinement)
    ours, theirs = socket.socketpair()
    worker = os.fork()
    if worker == 0:
        try:
            theirs.recv(1)
            theirs.send(b"1" if works(confinement) and server_of(confinement) != before else b"0")
        finally:
            os._exit(0)
    os.kill(before, signal.SIGKILL)
    ours.send(b"1")

    assert ours.recv(1) == b"1"
    os.waitpid(worker, 0)
    ours.close()
    theirs.close()


def test_closing_ends_the_fork_server() -> None:
    confinement = Confinement(preload=["tests.confinement.targets"])
    assert works(confinement)
    server = server_of(confinement)

    confinement.close()

    assert not Path(f"/proc/{server}").exists()


def server_of(confinement: Confinement) -> int:
    return int(confinement.status()["pid"])


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[1])


def children_of(confinement: Confinement) -> list[int]:
    server = server_of(confinement)
    listed = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [int(child) for child in listed if _alive(int(child))]


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def eventually(holds: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether a condition comes true in its time."""
    waiting = threading.Event()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        waiting.wait(0.01)
    return False
