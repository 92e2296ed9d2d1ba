"""The directory that ``modelward up`` keeps everything in, the two files that it writes there itself, and its lock."""

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from service.cli.output import Failure

SECRET_FILE: Final = "secret.key"  # noqa: S105 - the name of the file, not what is in it
QUICKSTART_FILE: Final = "quickstart.json"
LOCK_FILE: Final = "up.lock"


@dataclass(frozen=True, slots=True)
class Quickstart:
    """What somebody who has just started it needs: where it is, and the keys to it."""

    url: str
    tenant: str
    api_key: str
    admin_api_key: str


class DataDirectory:
    """The data directory.

    :param path: where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the directory, for its owner alone, and see that it can be written to.

        :raises Failure: it cannot.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise Failure(
                f"The data directory {self.path} cannot be written to ({error.strerror}); "
                "choose another with --data-dir, or change who owns it."
            ) from error

    @contextmanager
    def locked(self, *, shared: bool = False) -> Iterator[None]:
        """Keep another server away from the directory for as long as the block lasts.

        The lock belongs to this process and ends with it, however it ends; a lock by
        ``flock`` would be passed on to forked children and could outlive a killed parent.

        :param shared: let others in who say so too.
        :raises Failure: another process holds it.
        """
        with self._lock_file() as file:
            if file is not None:
                self._lock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield

    def _lock_file(self) -> AbstractContextManager[IO[str] | None]:
        try:
            return (self.path / LOCK_FILE).open("a+")
        except OSError:
            # Whoever keeps nothing here need not be able to write here, and whoever has to finds out by itself.
            return nullcontext()

    def _lock(self, file: IO[str], kind: int) -> None:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
        except OSError as error:
            raise Failure(
                f"Another Modelward is running on {self.path}; stop it, "
                "or choose another directory with MODELWARD_DATA_DIR."
            ) from error

    def secret(self) -> str | None:
        """Return the secret key that was generated here, or ``None``."""
        return self._read(SECRET_FILE)

    def generate_secret(self) -> str:
        """Make a secret key, keep it, and return it."""
        secret = secrets.token_urlsafe(48)
        self._write(SECRET_FILE, secret)
        return secret

    def quickstart(self) -> Quickstart | None:
        """Return what an earlier start wrote, or ``None`` where it is missing or cannot be used."""
        try:
            fields = json.loads(self._read(QUICKSTART_FILE) or "null")
            return Quickstart(**{name: str(value) for name, value in fields.items()})
        except (ValueError, TypeError, AttributeError):
            return None

    def write_quickstart(self, quickstart: Quickstart) -> None:
        """Replace what an earlier start wrote."""
        self._write(QUICKSTART_FILE, json.dumps(asdict(quickstart), indent=2) + "\n")

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text().strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failure(f"{self.path / name} cannot be read: {error.strerror}.") from error

    def _write(self, name: str, text: str) -> None:
        # A name appears with its whole contents or not at all, whenever the power goes.
        new = self.path / f"{name}.new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / name)
        directory = os.open(self.path, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
