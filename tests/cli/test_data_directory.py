"""The data directory of ``modelward up``: private, whole, and one process's at a time."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.data_directory import DataDirectory, Quickstart
from service.cli.output import Failure

QUICKSTART = Quickstart("http://127.0.0.1:8000", "demo", "mw_a", "mw_b")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "deep" / "data")
    made.prepare()
    return made


def test_it_is_its_owners_alone(directory: DataDirectory) -> None:
    assert mode(directory.path) == 0o700


def test_preparing_it_again_changes_nothing(directory: DataDirectory) -> None:
    secret = directory.generate_secret()
    directory.prepare()
    assert directory.secret() == secret
    assert [path.name for path in directory.path.iterdir()] == ["secret.key"]


def test_a_place_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="cannot be written to"):
        DataDirectory(tmp_path / "file" / "data").prepare()


def test_a_directory_that_cannot_be_written_to_is_refused() -> None:
    with pytest.raises(Failure, match="--data-dir"):
        DataDirectory(Path("/proc/self")).prepare()


def test_secrets_are_readable_by_their_owner_alone(directory: DataDirectory) -> None:
    old = os.umask(0)
    try:
        directory.generate_secret()
        directory.write_quickstart(QUICKSTART)
    finally:
        os.umask(old)
    assert mode(directory.path / "secret.key") == 0o600
    assert mode(directory.path / "quickstart.json") == 0o600


def test_a_generated_secret_is_long_and_kept(directory: DataDirectory) -> None:
    assert directory.secret() is None
    secret = directory.generate_secret()
    assert len(secret) >= 32
    assert directory.secret() == secret


def test_the_quickstart_is_read_back(directory: DataDirectory) -> None:
    directory.write_quickstart(QUICKSTART)
    assert directory.quickstart() == QUICKSTART
    assert json.loads((directory.path / "quickstart.json").read_text())["admin_api_key"] == "mw_b"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"url": "http://127.0.0.1"}', '{"surplus": 1}'])
def test_a_quickstart_that_cannot_be_used_is_none(directory: DataDirectory, text: str) -> None:
    (directory.path / "quickstart.json").write_text(text)
    assert directory.quickstart() is None


def test_what_a_crash_left_half_written_is_replaced(directory: DataDirectory) -> None:
    (directory.path / "quickstart.json.new").write_text("{")
    directory.write_quickstart(QUICKSTART)
    assert directory.quickstart() == QUICKSTART
    assert not (directory.path / "quickstart.json.new").exists()


def test_a_file_that_cannot_be_read_is_named(directory: DataDirectory) -> None:
    (directory.path / "secret.key").mkdir()
    with pytest.raises(Failure, match=r"secret\.key"):
        directory.secret()


def test_one_process_at_a_time_holds_it(directory: DataDirectory) -> None:
    program = (
        "import sys; from pathlib import Path; from service.cli.data_directory import DataDirectory\n"
        "with DataDirectory(Path(sys.argv[1])).locked(): pass"
    )

    def other() -> int:
        return subprocess.run(
            [sys.executable, "-c", program, directory.path], check=False, stderr=subprocess.DEVNULL
        ).returncode

    with directory.locked():
        assert other() != 0
    assert other() == 0
