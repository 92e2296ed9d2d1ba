"""The filter's program, run by a machine of the test's own, on both architectures."""

import struct
from collections.abc import Mapping

import pytest

from service.confinement import resident, system_calls
from service.confinement.system_calls import ALLOW, ALLOWED, AUDIT_ARCHITECTURES, KILL, REFUSE, X32_BIT, Numbers

OTHERS = {
    "x86_64": {
        "open": 2,
        "socket": 41,
        "connect": 42,
        "clone": 56,
        "execve": 59,
        "kill": 62,
        "ptrace": 101,
        "openat": 257,
    },
    "aarch64": {"openat": 56, "socket": 198, "connect": 203, "clone": 220, "execve": 221, "kill": 129, "ptrace": 117},
}


def run(machine: str, number: int, architecture: int | None = None, calls: Mapping[str, Numbers] = ALLOWED) -> int:
    """What the kernel would do with a system call, by the rules of classic BPF."""
    words = {0: number, 4: AUDIT_ARCHITECTURES[machine] if architecture is None else architecture}
    instructions = list(struct.iter_unpack("HBBI", system_calls.program(machine, calls)))
    accumulator = position = 0
    while True:
        code, when_true, when_false, operand = instructions[position]
        position += 1
        if code == system_calls.LOAD_WORD:
            accumulator = words[operand]
        elif code == system_calls.JUMP_IF_EQUAL:
            position += when_true if accumulator == operand else when_false
        elif code == system_calls.JUMP_IF_AT_LEAST:
            position += when_true if accumulator >= operand else when_false
        else:
            return int(operand)


@pytest.mark.parametrize("machine", AUDIT_ARCHITECTURES)
@pytest.mark.parametrize("calls", [ALLOWED, resident.ALLOWED], ids=["of a call", "of a resident"])
def test_what_is_listed_is_allowed_and_nothing_else(machine: str, calls: Mapping[str, Numbers]) -> None:
    allowed = {getattr(numbers, machine) for numbers in calls.values()}
    verdicts = {number: run(machine, number, calls=calls) for number in range(600)}

    assert {number for number, verdict in verdicts.items() if verdict == ALLOW} == allowed
    assert set(verdicts.values()) == {ALLOW, REFUSE}


@pytest.mark.parametrize("machine", OTHERS)
@pytest.mark.parametrize("calls", [ALLOWED, resident.ALLOWED], ids=["of a call", "of a resident"])
def test_what_reaches_out_is_refused(machine: str, calls: Mapping[str, Numbers]) -> None:
    verdicts = {name: run(machine, number, calls=calls) for name, number in OTHERS[machine].items()}

    assert set(verdicts.values()) == {REFUSE}


def test_another_calling_convention_gets_nowhere() -> None:
    assert run("x86_64", 1 | X32_BIT) == REFUSE
    assert run("x86_64", 4, architecture=0x40000003) == KILL
