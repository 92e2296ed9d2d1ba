"""Files of other formats, pickles above all, under every disguise: how each is built, and how its refusal reads."""

import gzip
import zlib
from collections.abc import Callable

import numpy as np
import skops.io

from tests.artifacts.hostile import (
    RunsACommand,
    archive_of,
    array_file,
    first_array,
    honest,
    joblib_bytes,
    pickled,
    with_members,
)

UNSUPPORTED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    **{f"a pickle of protocol {n}": (lambda n=n: pickled(n), "pickle_not_accepted", "skops.io.dump") for n in range(6)},
    "joblib": (joblib_bytes, "pickle_not_accepted", "skops.io.dump"),
    "joblib in gzip": (lambda: joblib_bytes(("gzip", 3)), "pickle_not_accepted", "joblib"),
    "joblib in zlib": (lambda: joblib_bytes(("zlib", 3)), "pickle_not_accepted", "joblib"),
    "joblib in xz": (lambda: joblib_bytes(("xz", 3)), "pickle_not_accepted", "joblib"),
    "joblib in bz2": (lambda: joblib_bytes(("bz2", 3)), "pickle_not_accepted", "joblib"),
    "a gzipped skops file": (lambda: gzip.compress(skops.io.dumps(honest())), "pickle_not_accepted", "skops.io.dump"),
    "zlib of a pickle": (lambda: zlib.compress(pickled(4)), "pickle_not_accepted", "skops.io.dump"),
    "an array file": (lambda: array_file(np.save, np.arange(9)), "unsupported_format", "array file"),
    "an array file of objects": (
        lambda: array_file(np.save, np.array([RunsACommand()], dtype=object)),
        "unsupported_format",
        "array file",
    ),
    "an array archive of objects": (
        lambda: array_file(np.savez, np.array([RunsACommand()], dtype=object)),
        "unsupported_format",
        ".npz",
    ),
    "a zip around a pickle": (lambda: archive_of({"archive/data.pkl": pickled(2)}), "pickle_not_accepted", "pickle"),
    "pickled objects inside a skops file": (
        lambda: with_members(lambda m: first_array(m, array_file(np.save, np.array([RunsACommand()], dtype=object)))),
        "pickle_not_accepted",
        "pickled objects",
    ),
    "a pickle in front of a skops file": (
        lambda: pickled(4) + skops.io.dumps(honest()),
        "pickle_not_accepted",
        "pickle",
    ),
    "ONNX": (lambda: b"\x08\x0a\x12\x08skl2onnx\x1a\x061.20.0", "onnx_not_supported", "ONNX"),
    "an empty zip": (lambda: archive_of({}), "unsupported_format", "skops.io.dump"),
    "nothing": (lambda: b"", "unsupported_format", "skops.io.dump"),
    "a text": (lambda: b"hello, here is my model", "unsupported_format", "skops.io.dump"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "unsupported_format", "skops.io.dump"),
}
"""Name: the file, the code of its refusal, and words that must be in it."""
