"""The directory in which several workers share their metrics."""

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from service.config import Settings, share_metrics


@contextlib.contextmanager
def prepare_metrics(settings: Settings, port: int) -> Iterator[None]:
    """Have the workers share their metrics in an empty directory; a single worker keeps them in memory.

    The directory lies in the data directory under the server's own name, so that what a
    killed server left behind is removed by the next one. Where that cannot be written it
    is a temporary one.
    """
    if settings.workers == 1:
        yield
        return
    directory = _empty_directory(settings.data_dir / "metrics" / f"{socket.gethostname()}-{port}")
    share_metrics(directory)
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _empty_directory(directory: Path) -> Path:
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o700)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="modelward-metrics-"))
    return directory.absolute()
