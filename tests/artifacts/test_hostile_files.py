"""Each hostile file is refused with its reason, and nothing in it is ever run."""

import io
import pickle
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import skops.io

from service.artifacts import formats
from service.artifacts.admission import Admission, Declared
from service.artifacts.inspection import inspect
from service.confinement import Confinement, wire
from service.errors import Rejected, Unsupported
from service.runtimes.policy import EXACT
from tests.artifacts import foreign_files, hostile, hostile_files

FORBIDDEN = {
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.system",
    "pickle.find_class",
    "socket.__new__",
    "socket.connect",
    "subprocess.Popen",
    "_thread.start_new_thread",
}

_watched: list[str] = []
_watching: int | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching == threading.get_ident() and (event in FORBIDDEN or (event == "open" and _writes(arguments))):
        _watched.append(f"{event} {arguments}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    return isinstance(arguments[1], str) and arguments[1].strip("rbt") != ""


sys.addaudithook(_hook)


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """What was done during the test that no upload may make happen."""
    global _watching  # noqa: PLW0603 - an audit hook cannot be removed again.
    _watched.clear()
    # Other threads of this process may go on with what other tests began.
    _watching = threading.get_ident()
    yield _watched
    _watching = None


def _inspect(data: bytes) -> None:
    """What admission does, in this process, where the audit hook sees it."""
    formats.require_zip(data)
    inspect(wire.pack({"signature": None, "sample": None, "policy": EXACT}, data))


def test_the_hook_sees_what_it_must(watched: list[str], tmp_path: Path) -> None:
    watched.clear()
    pickle.loads(pickle.dumps(Path))
    (tmp_path / "file").write_bytes(b"")

    assert [line.split()[0] for line in watched] == ["pickle.find_class", "open"]


@pytest.mark.parametrize("name", foreign_files.UNSUPPORTED)
def test_another_format_is_refused_and_never_opened(name: str, watched: list[str]) -> None:
    build, code, words = foreign_files.UNSUPPORTED[name]
    data = build()
    watched.clear()

    with pytest.raises(Unsupported) as refusal:
        _inspect(data)

    assert refusal.value.reason == code
    assert words in refusal.value.detail
    assert code == "onnx_not_supported" or "skops.io.dump(estimator" in refusal.value.detail
    assert watched == []


@pytest.mark.parametrize("name", hostile_files.REJECTED)
def test_a_hostile_file_is_refused_with_its_reason_and_runs_nothing(name: str, watched: list[str]) -> None:
    build, place, words = hostile_files.REJECTED[name]
    data = build()
    watched.clear()

    with pytest.raises(Rejected) as refusal:
        _inspect(data)

    findings = refusal.value.findings
    assert any(place in finding.at and words in finding.message for finding in findings), findings
    assert len(findings) <= 20
    assert watched == []


@pytest.mark.parametrize(
    "name", ["joblib", "a pickle of protocol 0", "os.system as a function", "a description with a byte order mark"]
)
def test_the_child_gives_the_same_reasons(name: str, admission: Admission) -> None:
    build, *_ = (foreign_files.UNSUPPORTED | hostile_files.REJECTED)[name]

    with pytest.raises((Unsupported, Rejected)) as in_the_child:
        admission.admit(build(), Declared())
    with pytest.raises((Unsupported, Rejected)) as here:
        _inspect(build())

    assert in_the_child.type is here.type
    assert in_the_child.value.detail == here.value.detail
    assert [f.at.rpartition("/")[2][-4:] for f in in_the_child.value.findings] == [
        f.at.rpartition("/")[2][-4:] for f in here.value.findings
    ]
    assert not Path(hostile.COMMAND.split()[1]).exists()


@pytest.mark.parametrize("name", hostile_files.COSTLY)
def test_what_costs_too_much_is_refused_and_the_next_upload_is_admitted(name: str, confinement: Confinement) -> None:
    build, words = hostile_files.COSTLY[name]
    strict = Admission(confinement, seconds=2, memory_bytes=512 << 20)

    with pytest.raises(Rejected) as refusal:
        strict.admit(build())

    assert words in refusal.value.findings[0].message
    assert strict.admit(skops.io.dumps(hostile.honest())).estimator == "LogisticRegression"


def test_a_neighbour_tree_that_points_out_of_its_data_is_built_again(admission: Admission) -> None:
    admitted = admission.admit(hostile.neighbours_pointing_out())

    assert admitted.estimator == "KNeighborsClassifier"


def test_a_bomb_is_refused_before_it_is_unpacked(admission: Admission) -> None:
    """What it unpacks to is broken, which nobody finds out."""
    data = bytearray(hostile_files.REJECTED["a larger bomb"][0]())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(range(64))
    with zipfile.ZipFile(io.BytesIO(data)) as archive, pytest.raises(zlib.error):
        archive.testzip()

    with pytest.raises(Rejected) as refusal:
        admission.admit(bytes(data))

    assert any("larger than" in finding.message for finding in refusal.value.findings)
