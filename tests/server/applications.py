"""A small application for the tests of the server, and the program that serves it."""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from flask import Flask, Response, request

from service.config import Settings
from service.server import FileBody, Lane, Refusal, Shell, serve, waiting

MEGABYTE = 1 << 20
PATTERN = bytes(range(256)) * 256


def application() -> Flask:
    app = Flask(__name__)

    @app.route("/echo", methods=["GET", "POST"])
    def echo() -> Response:
        return Response(request.get_data(), headers={"X-Length": str(request.content_length)})

    @app.post("/thread")
    @app.post("/waiting")
    def thread() -> str:
        body = request.get_data(as_text=True)
        if body.startswith("wait"):
            waiting.wait()
        return f"{threading.current_thread().name} {body}"

    @app.get("/environ")
    def environ() -> dict[str, str]:
        return {name: value for name, value in request.environ.items() if isinstance(value, str)}

    @app.get("/draining")
    def draining() -> str:
        return str("modelward.draining" in request.environ)

    @app.get("/file/<int:length>")
    def file(length: int) -> Response:
        lying = tempfile.TemporaryFile()  # noqa: SIM115 - the body closes it.
        for start in range(0, length, len(PATTERN)):
            lying.write(PATTERN[: length - start])
        return Response(FileBody(lying), headers={"Content-Length": str(length)}, direct_passthrough=True)

    @app.get("/broken")
    def broken() -> Response:
        response = Response()
        response.get_app_iter = lambda _environ: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        return response

    @app.get("/slow/<int:milliseconds>")
    def slow(milliseconds: int) -> str:
        time.sleep(milliseconds / 1000)
        return "slow"

    _add_unsendable(app)
    return app


def _add_unsendable(app: Flask) -> None:
    @app.get("/unsendable")
    def unsendable() -> Response:
        return Response(headers={"X-Name": "\N{SNOWMAN}"})

    @app.get("/gone")
    def gone() -> Response:
        body = FileBody(tempfile.TemporaryFile())  # noqa: SIM115 - closed at once.
        body.close()
        return Response(body, direct_passthrough=True)


def shell(settings: Settings) -> Shell:
    """Return the shell that a worker runs.

    An ``X-Large`` header stands for a plan that allows 4 MB, an ``X-Caller`` header for whose request it is;
    who sends neither is not known.
    """

    def lane(environ: dict[str, object]) -> Lane:
        return Lane(str(environ.get("HTTP_X_CALLER", "")), 6)

    def limit(environ: dict[str, object]) -> int | None:
        if "HTTP_X_LARGE" in environ:
            return 4 * MEGABYTE
        return MEGABYTE if "HTTP_X_CALLER" in environ else None

    def refuse(refusal: Refusal, _environ: object) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = [("content-type", "application/problem+json")]
        if refusal.retry_after is not None:
            headers.append(("retry-after", str(refusal.retry_after)))
        return refusal.status, headers, refusal.code.encode()

    def close() -> None:
        (settings.data_dir / "closed").touch()

    return Shell(application().wsgi_app, settings, lane=lane, body_limit=limit, refuse=refuse, close=close)


def broken(settings: Settings) -> Shell:
    """Fail, as a worker does whose database is away."""
    raise RuntimeError("this worker does not start")


def halting(settings: Settings) -> Shell:
    """Wait at the start for as long as there is a file ``halt``, and fail there while there is a file ``broken``."""
    (settings.data_dir / "starting").touch()
    while (settings.data_dir / "halt").exists():
        time.sleep(0.01)
    return broken(settings) if (settings.data_dir / "broken").exists() else shell(settings)


def mortal(settings: Settings) -> Shell:
    """Die a moment after the start, while there is a file ``broken``."""
    if (settings.data_dir / "broken").exists():
        threading.Timer(0.1, os._exit, [3]).start()
    return shell(settings)


if __name__ == "__main__":
    serve(
        Settings.model_validate_json(sys.argv[2]),
        target=f"tests.server.applications:{sys.argv[1]}",
        on_ready=lambda url: Path(sys.argv[3]).write_text(url),
    )
