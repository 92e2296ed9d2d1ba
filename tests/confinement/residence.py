"""A resident for tests: it does to itself what a request says, and answers those together that say so."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from service.confinement.resident import Reply, Request
from service.errors import Rejected
from tests.confinement import targets

TARGET = "tests.confinement.residence:load"


def load(header: dict[str, Any], body: bytearray) -> "Residence":
    if header.get("refuse"):
        raise Rejected("No.", code="for_a_test")
    if header.get("crash"):
        targets.crash(b"")
    if header.get("spin"):
        targets.spin(b"")
    return Residence(np.ones(header.get("bytes", 0), dtype=np.uint8), len(body))


class Residence:
    def __init__(self, held: np.ndarray, loaded_from: int) -> None:
        self._held = held
        self._loaded_from = loaded_from

    def choose(self, waiting: deque[Request]) -> list[Request]:
        chosen = [waiting.popleft()]
        while waiting and chosen[0].header.get("together") and waiting[0].header.get("together"):
            chosen.append(waiting.popleft())
        return chosen

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        facts = {"pid": os.getpid(), "together": len(requests), "loaded_from": self._loaded_from}
        return [(facts | {"outcome": self._do(request.header)}, [request.body]) for request in requests]

    def _do(self, header: dict[str, Any]) -> str:
        match header.get("do"):
            case "crash":
                targets.crash(b"")
            case "spin":
                targets.spin(b"")
            case "exit":
                os._exit(0)
            case "sleep":
                time.sleep(header["nap"])
            case "grow":
                self._held = np.ones(header["bytes"], dtype=np.uint8)
            case "use":
                # Pieces too small to be mapped one by one; what lies last is kept until all others are free.
                pieces = [np.ones(header["bytes"], dtype=np.uint8) for _ in range(header["pieces"])]
                del pieces[:-1]
                self._held = pieces[0]
            case "attempt":
                return str(getattr(targets, header["what"])(header["given"].encode()).decode())
            case "babble":
                with contextlib.suppress(OSError):
                    targets._write_to_channel(b"\xff" * 64)
        return "done"
