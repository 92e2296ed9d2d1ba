"""`deploy/Dockerfile`, read as far as it can be without an engine to build it."""

import json
import re
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """Each instruction and its argument, with continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, argument) for word, _, argument in (line.partition(" ") for line in lines)]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def argument(stage: list[Instruction], word: str) -> str:
    """The argument of a stage's only instruction of that kind."""
    (only,) = (given for instruction, given in stage if instruction == word)
    return only


def test_only_known_instructions_are_used() -> None:
    known = {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "VOLUME", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions()} <= known


def test_what_builds_is_not_in_what_runs() -> None:
    _build, run = stages()
    assert [given for word, given in run if word == "COPY"] == ["--from=build /opt/modelward /opt/modelward"]
    assert not any("pip install" in given for _, given in run)


def test_every_package_is_installed_with_its_hash() -> None:
    installs = re.findall(r"pip install [^&]*", " ".join(given for word, given in instructions() if word == "RUN"))
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-deps /wheels/" in install


def test_every_file_that_is_copied_is_there_and_enters_the_build() -> None:
    build, _ = stages()
    ignored, *entered = (
        line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")
    )
    assert ignored == "*"
    sources = [source for word, given in build if word == "COPY" for source in given.split()[:-1]]
    for source in sources:
        assert (DEPLOY.parent / source).exists() or source == "README.md", source
        assert f"!{source}" in entered
    assert len(sources) == len([line for line in entered if line.startswith("!")])


def test_it_runs_as_nobody_in_particular_on_volumes() -> None:
    _, run = stages()
    user = argument(run, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    data, spool = argument(run, "VOLUME").split()
    assert data == argument(run, "WORKDIR") == "/var/lib/modelward"
    assert f"TMPDIR={spool}" in argument(run, "ENV")
    assert f"--uid {user.split(':')[0]}" in argument(run, "RUN")


def test_it_serves_by_default_and_its_health_is_that_of_the_process_alone() -> None:
    _, run = stages()
    assert json.loads(argument(run, "ENTRYPOINT")) == ["modelward"]
    assert json.loads(argument(run, "CMD")) == ["serve"]
    command = json.loads(argument(run, "HEALTHCHECK").partition(" CMD ")[2])
    assert command[:2] == ["python", "-c"]
    assert "/healthz" in command[2]
    compile(command[2], "healthcheck", "exec")
