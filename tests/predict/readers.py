"""Readers of files that a hostile file has taken over, as functions that confined children are told to run."""

import ctypes
import mmap

import numpy as np
import orjson

from service.confinement.child import Talk
from service.registry.cells import Cells, frame_of


def crash(data: mmap.mmap, opening: bytes) -> Talk:
    ctypes.string_at(0)
    yield {"rows": 0}, []


def hoard(data: mmap.mmap, opening: bytes) -> Talk:
    yield frame_of(Cells(np.zeros((1, 2)), []))
    yield {"rows": len(np.ones(1 << 30))}, []


def lie(data: mmap.mmap, opening: bytes) -> Talk:
    """Send what the file says, byte by byte: a header in JSON, and a body."""
    header, _, body = data[:].partition(b"\n")
    yield orjson.loads(header), [body]
