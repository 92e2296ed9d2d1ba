"""ONNX Runtime on one thread."""

from typing import Final

import onnxruntime

from service.runtimes.forms import Array, UnfitError

_OVERHEAD_BYTES: Final = 100 << 10
_COPIES: Final = 2
"""A session keeps the graph as it was given, and the numbers in it once more."""

_ELSEWHERE: Final = b"location"
"""What a graph says that has its numbers in a file: the key stands in it as it is, and the file would be opened."""


class Session:
    """A graph that takes ``X``; safe to use from several threads.

    ``size_bytes`` is what it holds, near enough, where the graph is mostly numbers.

    :param model: the serialised ONNX model.
    :raises UnfitError: ONNX Runtime does not take it, or its numbers are to be read from elsewhere.
    """

    def __init__(self, model: bytes) -> None:
        if _ELSEWHERE in model:
            raise UnfitError("its graph could name a file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # What goes wrong is raised; nothing is to be written to the server's own output.
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UnfitError(f"ONNX Runtime does not take its graph: {first_line(error)}") from error
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.size_bytes = _OVERHEAD_BYTES + _COPIES * len(model)

    def run(self, X: Array, output: str) -> Array:
        """Return one output for rows of the type that the graph takes."""
        found: Array = self._session.run([output], {"X": X})[0]
        return found


def first_line(error: Exception) -> str:
    """Return what an error of ONNX's tools says, without where in their code."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
