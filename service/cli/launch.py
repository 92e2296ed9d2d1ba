"""Start the HTTP server, in the foreground."""

import contextlib
import socket
from collections.abc import Callable
from typing import Final

from service import server
from service.cli.output import Failure
from service.config import Settings

APPLICATION: Final = "service.app:create_shell"
"""The application stands above the command line, and each worker imports it by this name."""


def run_server(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal ends it.

    :param on_ready: called with the server's URL once it is ready to answer.
    :raises Failure: the address cannot be listened on.
    """
    from service.bootstrap import confined  # noqa: PLC0415 - no ``--help`` should wait for all that it brings

    free_port(settings.host, settings.port)
    with contextlib.closing(confined(settings)) as confinement:
        # Its start takes longer than that of a worker, which does not wait for it.
        confinement.start()
        server.serve(settings, target=APPLICATION, on_ready=on_ready, shared=(confinement,))


def free_port(host: str, port: int) -> int:
    """Return the port to listen on: ``port`` itself, or one that is free where it is 0.

    :raises Failure: something listens there, or it is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise Failure(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another with --port or --host."
        ) from error


def base_url(host: str, port: int) -> str:
    """Return the URL at which somebody on this machine finds a server that listens there."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
