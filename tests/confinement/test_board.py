"""What a resident writes on its page outlives it, and can be read by its parent alone."""

import contextlib
import os

from service.confinement.board import MOST_RUNNING, Board


def test_a_page_says_what_runs_and_since_when() -> None:
    with contextlib.closing(Board()) as board:
        assert (board.busy_since, board.last_used, board.running) == (0, 0, [])
        board.begin([(7, 1), (8, 2)])
        began = board.busy_since
        assert began > 0
        assert board.running == [(7, 1), (8, 2)]
        board.end()
        assert board.busy_since == 0
        assert board.last_used >= began
        assert board.running == []


def test_more_than_there_is_room_for_are_left_out() -> None:
    with contextlib.closing(Board()) as board:
        board.begin([(1, number) for number in range(MOST_RUNNING + 5)])
        assert board.running == [(1, number) for number in range(MOST_RUNNING)]


def test_what_a_child_wrote_is_read_after_its_death() -> None:
    with contextlib.closing(Board()) as board:
        pid = os.fork()
        if pid == 0:
            board.begin([(3, 9)])
            os._exit(1)
        os.waitpid(pid, 0)
        assert board.running == [(3, 9)]
