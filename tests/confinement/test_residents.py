"""A child that stays is shared by all who attach to it, holds nobody up for long, and takes nobody with it."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.confinement import Attachment, Confinement, Fate, LostError, Residence
from service.confinement.residents import OWN_BYTES
from service.errors import Unavailable
from tests.confinement.measuring import measured
from tests.confinement.residence import TARGET
from tests.confinement.test_confinement import eventually, server_of

MEGABYTE = 1 << 20
PATIENCE = 20.0


@pytest.fixture(scope="module")
def confinement() -> Iterator[Confinement]:
    confinement = Confinement(preload=measured("tests.confinement.residence"))
    confinement.start()
    yield confinement
    confinement.close()


@pytest.fixture
def narrow() -> Iterator[Confinement]:
    """A machine that has room for 100 MB, and nothing in it."""
    with contextlib.closing(
        Confinement(preload=measured("tests.confinement.residence"), budget_bytes=100 * MEGABYTE)
    ) as one:
        yield one


@pytest.fixture
def key(request: pytest.FixtureRequest, confinement: Confinement) -> str:
    """A resident that no other test has."""
    return request.node.name


def residence(key: str, **given: Any) -> Residence:
    settings = {"memory_bytes": 256 * MEGABYTE, "busy_seconds": 10.0, "expects_bytes": 0} | given
    return Residence(key, TARGET, **settings)


def soon(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


@contextlib.contextmanager
def attached(confinement: Confinement, wanted: Residence, **loading: Any) -> Iterator[Attachment]:
    """A connection to a resident that has loaded."""
    attachment = confinement.attach(wanted)
    try:
        if not attachment.greeted(soon()):
            attachment.ask(loading, [b"what to load"], soon())
        yield attachment
    finally:
        attachment.close()


def ask(attachment: Attachment, seconds: float = PATIENCE, **header: Any) -> dict[str, Any]:
    return attachment.ask(header, [], soon(seconds))[0]


def fate_of(confinement: Confinement, attachment: Attachment, **header: Any) -> Fate:
    """What becomes of a resident that does not answer this."""
    with pytest.raises(LostError):
        ask(attachment, **header)
    return confinement.fate(attachment)


def described(confinement: Confinement, key: str) -> dict[str, Any]:
    return next((each for each in confinement.status()["residents"] if each["key"] == key), {})


def pid_of(confinement: Confinement, key: str) -> int | None:
    return described(confinement, key).get("pid")


def test_it_loads_once_and_answers_everyone_who_attaches(confinement: Confinement, key: str) -> None:
    def call(number: int) -> tuple[int, int, bytes]:
        with attached(confinement, residence(key)) as attachment:
            header, body = attachment.ask({}, [str(number).encode()], soon())
            return header["pid"], header["loaded_from"], bytes(body)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(call, range(64)))

    assert {(pid, loaded) for pid, loaded, _ in answers} == {(pid_of(confinement, key), len(b"what to load"))}
    assert [int(body) for _, _, body in answers] == list(range(64))


def test_processes_share_it(confinement: Confinement, key: str) -> None:
    with attached(confinement, residence(key)) as attachment:
        ours, theirs = socket.socketpair()
        worker = os.fork()
        if worker == 0:
            try:
                with attached(confinement, residence(key)) as another:
                    theirs.send(str(ask(another)["pid"]).encode())
            finally:
                os._exit(0)
        assert int(ours.recv(20)) == ask(attachment)["pid"]
        os.waitpid(worker, 0)
        ours.close()
        theirs.close()
        assert ask(attachment)["pid"] == pid_of(confinement, key)


def test_large_bodies_go_both_ways(confinement: Confinement, key: str) -> None:
    body = os.urandom(9 * MEGABYTE)
    with attached(confinement, residence(key)) as attachment:
        _, answer = attachment.ask({}, [body[:1000], b"", memoryview(body)[1000:]], soon())
    assert answer == body


def test_requests_that_came_while_it_was_busy_are_answered_together(confinement: Confinement, key: str) -> None:
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        links = [stack.enter_context(attached(confinement, residence(key))) for _ in range(8)]
        sleeping = pool.submit(ask, links[0], do="sleep", nap=0.5)
        assert eventually(lambda: described(confinement, key)["busy"])
        waiting = [pool.submit(ask, link, together=True) for link in links[1:]]
        assert sleeping.result()["together"] == 1
        assert {future.result()["together"] for future in waiting} == {7}


def test_nothing_but_its_callers_is_within_its_reach(confinement: Confinement, key: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    with attached(confinement, residence(key)) as attachment:
        for what, given in (
            ("read_file", str(tmp_path / "secret")),
            ("open_socket", "80"),
            ("open_local_socket", ""),
            ("fork", ""),
            ("start_thread", ""),
            ("signal_parent", ""),
            ("execute", ""),
            ("raise_limits", ""),
        ):
            assert ask(attachment, do="attempt", what=what, given=given)["outcome"].startswith("refused")


def test_what_it_refuses_to_load_is_told_and_the_next_may_try(confinement: Confinement, key: str) -> None:
    refused = confinement.attach(residence(key))
    assert not refused.greeted(soon())
    assert ask(refused, refuse=True)["code"] == "for_a_test"
    refused.close()
    with attached(confinement, residence(key)) as attachment:
        assert ask(attachment)["pid"]


def test_a_caller_who_leaves_before_it_has_loaded_leaves_that_to_the_next(confinement: Confinement, key: str) -> None:
    first, second = confinement.attach(residence(key)), confinement.attach(residence(key))
    assert not first.greeted(soon())
    with pytest.raises(TimeoutError):
        second.greeted(soon(0.1))
    first.close()
    assert not second.greeted(soon())
    second.close()


def test_none_is_started_where_only_one_that_is_there_is_wanted(confinement: Confinement, key: str) -> None:
    looking = residence(key, expects_bytes=None)
    absent = confinement.attach(looking)
    with pytest.raises(LostError):
        absent.greeted(soon())
    assert confinement.fate(absent).why == "absent"
    absent.close()
    with attached(confinement, residence(key)), attached(confinement, looking) as attachment:
        assert ask(attachment)["pid"] == pid_of(confinement, key)


@pytest.mark.parametrize("death", ["crash", "exit"])
def test_its_death_is_told_to_each_with_what_it_ran(confinement: Confinement, key: str, death: str) -> None:
    with attached(confinement, residence(key)) as guilty, attached(confinement, residence(key)) as innocent:
        ask(guilty)
        assert fate_of(confinement, guilty, do=death) == Fate("died", running=(guilty.number,), together=1)
        assert fate_of(confinement, innocent) == Fate("died", together=1)
    with attached(confinement, residence(key)) as again:
        assert ask(again)["pid"] == pid_of(confinement, key)


def test_a_death_while_it_loads_is_the_loader_s(confinement: Confinement, key: str) -> None:
    attachment = confinement.attach(residence(key))
    assert not attachment.greeted(soon())
    assert fate_of(confinement, attachment, crash=True).running == (1,)
    attachment.close()


def test_one_that_was_killed_from_outside_is_not_blamed(confinement: Confinement, key: str) -> None:
    for _ in range(4):
        with attached(confinement, residence(key)) as attachment:
            os.kill(ask(attachment)["pid"], signal.SIGKILL)
            assert fate_of(confinement, attachment).why == "killed"


def test_one_that_dies_again_and_again_is_not_started_until_it_is_forgiven(confinement: Confinement, key: str) -> None:
    for condemned in (False, False, True):
        with attached(confinement, residence(key)) as attachment:
            assert fate_of(confinement, attachment, do="crash").condemned == condemned
    refused = confinement.attach(residence(key))
    with pytest.raises(LostError):
        refused.greeted(soon())
    assert confinement.fate(refused) == Fate("condemned", condemned=True)
    refused.close()

    confinement.forgive(key)

    with attached(confinement, residence(key)) as attachment:
        assert ask(attachment)["pid"]


def test_one_that_is_stuck_is_ended_for_those_who_wait(confinement: Confinement, key: str) -> None:
    with (
        attached(confinement, residence(key, busy_seconds=0.5)) as guilty,
        attached(confinement, residence(key)) as innocent,
        ThreadPoolExecutor(1) as pool,
    ):
        pending = pool.submit(fate_of, confinement, guilty, do="spin")
        assert eventually(lambda: described(confinement, key)["busy"])
        assert fate_of(confinement, innocent) == Fate("stuck", together=1)
        assert pending.result() == Fate("stuck", running=(guilty.number,), together=1)


def test_one_that_goes_on_for_nobody_is_ended_a_little_later(confinement: Confinement, key: str) -> None:
    with attached(confinement, residence(key)) as attachment, attached(confinement, residence(key)) as waiting:
        with pytest.raises(TimeoutError):
            ask(attachment, seconds=0.1, do="spin")
        confinement.give_up(attachment)
        assert fate_of(confinement, waiting) == Fate("abandoned", together=1)


def test_one_that_ends_in_time_what_nobody_waits_for_lives_on(confinement: Confinement, key: str) -> None:
    with attached(confinement, residence(key)) as attachment, attached(confinement, residence(key)) as waiting:
        pid = ask(attachment)["pid"]
        with pytest.raises(TimeoutError):
            ask(attachment, seconds=0.1, do="sleep", nap=0.4)
        confinement.give_up(attachment)
        attachment.close()
        assert ask(waiting)["pid"] == pid
    assert eventually(lambda: pid_of(confinement, key) == pid)


def test_nonsense_is_no_answer(confinement: Confinement, key: str) -> None:
    with attached(confinement, residence(key)) as attachment:
        assert fate_of(confinement, attachment, do="babble").why == "alive"


def test_a_connection_that_nobody_knows_has_an_unknown_fate(confinement: Confinement, key: str) -> None:
    with attached(confinement, residence(key)) as attachment:
        os.kill(server_of(confinement), signal.SIGKILL)
        assert fate_of(confinement, attachment, do="sleep", nap=60).why == "unknown"


def test_the_one_that_was_idle_longest_goes_when_the_bytes_run_out(narrow: Confinement, key: str) -> None:
    large = 30 * MEGABYTE
    names = [f"{key} {number}" for number in range(3)]
    for name in (*names[:2], names[0]):
        with attached(narrow, residence(name), bytes=large) as attachment:
            ask(attachment)
    with attached(narrow, residence(names[2], expects_bytes=large), bytes=large):
        assert pid_of(narrow, names[1]) is None
        assert pid_of(narrow, names[0]) is not None
        assert narrow.status()["bytes"] <= 100 * MEGABYTE


def test_a_newcomer_waits_for_room_while_all_others_are_busy(narrow: Confinement, key: str) -> None:
    first, second = residence(f"{key} 1"), residence(f"{key} 2", expects_bytes=60 * MEGABYTE)
    with attached(narrow, first, bytes=60 * MEGABYTE) as busy, ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(ask, busy, do="sleep", nap=1)
        assert eventually(lambda: described(narrow, first.key)["busy"])
        newcomer, impatient = narrow.attach(second), narrow.attach(second)
        with pytest.raises(TimeoutError):
            newcomer.greeted(soon(0.2))
        impatient.close()
        assert sleeping.result()["pid"]
        assert not newcomer.greeted(soon())
        newcomer.close()


def test_one_that_is_too_large_is_not_started_and_not_kept(narrow: Confinement, key: str) -> None:
    with pytest.raises(LostError), attached(narrow, residence(key, expects_bytes=200 * MEGABYTE)):
        pytest.fail("it was started")
    with attached(narrow, residence(key), bytes=120 * MEGABYTE):
        assert eventually(lambda: pid_of(narrow, key) is None)
    refused = narrow.attach(residence(key))
    with pytest.raises(LostError):
        refused.greeted(soon())
    fate = narrow.fate(refused)
    assert fate.why == "too_large"
    assert fate.bytes > 120 * MEGABYTE
    refused.close()


def test_what_it_holds_is_what_it_has_in_memory_for_itself(confinement: Confinement, key: str) -> None:
    with attached(confinement, residence(key)) as attachment:
        for size in (20 * MEGABYTE, 40 * MEGABYTE):
            ask(attachment, do="grow", bytes=size)
            assert size <= described(confinement, key)["bytes"] <= size + 2 * OWN_BYTES


def test_what_it_does_not_use_any_more_is_given_back_when_nobody_asks(confinement: Confinement, key: str) -> None:
    with attached(confinement, residence(key)) as attachment:
        ask(attachment, do="use", pieces=4000, bytes=10_000)
        assert eventually(lambda: described(confinement, key)["bytes"] < OWN_BYTES + 20 * MEGABYTE)


def test_residents_end_with_the_fork_server(narrow: Confinement, key: str) -> None:
    with attached(narrow, residence(key)) as attachment:
        pid = ask(attachment)["pid"]
        os.kill(server_of(narrow), signal.SIGKILL)
        assert eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_where_no_fork_server_starts_nobody_waits_for_one() -> None:
    with contextlib.closing(Confinement(preload=["no.such.module"])) as broken, pytest.raises(Unavailable):
        broken.status()
