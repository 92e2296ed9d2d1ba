"""The whole server: its socket, its limits, and the workers on it.

The socket is bound once, before the first worker, and shared: connections that wait in it
are lost with no worker, and a port that the system chooses is the same for all.
"""

import gc
import importlib
import resource
import socket
from collections.abc import Callable
from typing import Final

from service.config import Settings
from service.server.metrics_files import prepare_metrics
from service.server.supervisor import Supervisor
from service.server.worker import work

TARGET: Final = "service.app:create_shell"
BACKLOG: Final = 2048
MOST_OPEN_FILES: Final = 65_536


def serve(
    settings: Settings,
    *,
    target: str = TARGET,
    on_ready: Callable[[str], None] | None = None,
    shared: tuple[object, ...] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP replaces the workers one by one.

    :param target: ``module:function``, called in each worker with the settings and ``shared``;
        returns its ``Shell``. The module is imported here, so that the workers share its memory.
    :param on_ready: called once with the server's URL, when the first worker can answer.
    :param shared: what every worker is to have from this process as it is, its open sockets for instance.
    :raises OSError: the address is taken, or not ours.
    :raises SystemExit: the workers do not start, or end again and again.
    """
    _raise_file_limit()
    with _listen(settings) as listener, prepare_metrics(settings, listener.getsockname()[1]):
        module, _, function = target.partition(":")
        make = getattr(importlib.import_module(module), function)
        # Whatever the collector of a worker looks through becomes a copy of its own.
        gc.collect()
        gc.freeze()
        url = _url(settings.host, listener.getsockname()[1])

        def start(ready: Callable[[], None]) -> None:
            work(listener, make(settings, *shared), settings, ready)

        status = Supervisor(settings, start, lambda: on_ready(url) if on_ready else None).run()
    if status:
        raise SystemExit(status)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _raise_file_limit() -> None:
    """Allow as many open files as we may have: each slow caller holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
