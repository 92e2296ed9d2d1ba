"""A seccomp filter: the few system calls that computing over memory needs.

A child that stays also waits for its callers, and is handed connections to them. Everything
else answers EPERM: sockets, files, new processes and threads, signals, tracing. A list of
what is allowed cannot miss a call that a newer kernel brings. Opening a file is not on it
even for reading, because the server's own files are what a hostile estimator would read;
all code is imported before the filter is set.

The program is built from ``struct sock_filter`` and ``struct seccomp_data`` of
``linux/filter.h`` and ``linux/seccomp.h``.
"""

import ctypes
import platform
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_GET_SECCOMP: Final = 21
PR_SET_SECCOMP: Final = 22
PR_SET_NO_NEW_PRIVS: Final = 38
SECCOMP_MODE_FILTER: Final = 2

LOAD_WORD: Final = 0x20
JUMP_IF_EQUAL: Final = 0x15
JUMP_IF_AT_LEAST: Final = 0x35
RETURN: Final = 0x06
ALLOW: Final = 0x7FFF0000
REFUSE: Final = 0x00050000 | 1  # SECCOMP_RET_ERRNO with EPERM.
KILL: Final = 0x80000000
X32_BIT: Final = 0x40000000


class Numbers(NamedTuple):
    """A system call's number on each architecture."""

    x86_64: int
    aarch64: int


ALLOWED: Final[dict[str, Numbers]] = {
    "read": Numbers(0, 63),
    "write": Numbers(1, 64),
    "close": Numbers(3, 57),
    "fstat": Numbers(5, 80),
    "lseek": Numbers(8, 62),
    "mmap": Numbers(9, 222),
    "mprotect": Numbers(10, 226),
    "munmap": Numbers(11, 215),
    "brk": Numbers(12, 214),
    "rt_sigaction": Numbers(13, 134),
    "rt_sigprocmask": Numbers(14, 135),
    "rt_sigreturn": Numbers(15, 139),
    "sched_yield": Numbers(24, 124),
    "mremap": Numbers(25, 216),
    "madvise": Numbers(28, 233),
    "nanosleep": Numbers(35, 101),
    "getpid": Numbers(39, 172),
    "exit": Numbers(60, 93),
    "gettimeofday": Numbers(96, 169),
    "getrusage": Numbers(98, 165),
    "sysinfo": Numbers(99, 179),
    "gettid": Numbers(186, 178),
    "futex": Numbers(202, 98),
    "sched_getaffinity": Numbers(204, 123),
    "clock_gettime": Numbers(228, 113),
    "clock_getres": Numbers(229, 114),
    "clock_nanosleep": Numbers(230, 115),
    "exit_group": Numbers(231, 94),
    "getrandom": Numbers(318, 278),
}

OF_RESIDENTS: Final[dict[str, Numbers]] = {
    "poll": Numbers(7, 73),
    "recvfrom": Numbers(45, 207),
    "recvmsg": Numbers(47, 212),
    "ppoll": Numbers(271, 73),
}
"""What a child that stays needs beside ``ALLOWED``: to wait for its connections, and to be handed new ones."""

AUDIT_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def program(machine: str, calls: Mapping[str, Numbers] = ALLOWED) -> bytes:
    """Return the filter that lets ``calls`` pass on ``machine``, as an array of ``sock_filter``.

    :param machine: ``x86_64`` or ``aarch64``.
    """
    numbers = [getattr(call, machine) for call in calls.values()]
    instructions = [
        (LOAD_WORD, 0, 0, 4),
        (JUMP_IF_EQUAL, 1, 0, AUDIT_ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD_WORD, 0, 0, 0),
        (JUMP_IF_AT_LEAST, len(numbers), 0, X32_BIT),
    ]
    for position, number in enumerate(numbers):
        to_allow = len(numbers) - position
        instructions.append((JUMP_IF_EQUAL, to_allow, 0, number))
    instructions += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def available() -> bool:
    """Whether this kernel and this kind of machine have such a filter."""
    return platform.machine() in AUDIT_ARCHITECTURES and _control(PR_GET_SECCOMP) >= 0


def restrict(
    calls: Mapping[str, Numbers] = ALLOWED,
) -> bool:  # pragma: no cover - a confined process can write down no measurement.
    """Let only ``calls`` pass in this process from now on; return whether the kernel took the filter."""
    instructions = program(platform.machine(), calls)
    wanted = _Program(len(instructions) // 8, instructions)
    forbid_privileges()
    return _control(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(wanted)) == 0


def forbid_privileges() -> None:  # pragma: no cover - a confined process can write down no measurement.
    """Let no exec gain privileges, and no other process of this user look inside."""
    _control(PR_SET_NO_NEW_PRIVS, 1)
    _control(PR_SET_DUMPABLE, 0)


def die_with_parent(signal_number: int) -> None:  # pragma: no cover - a confined process can write down no measurement.
    """Have the kernel send ``signal_number`` to this process when its parent ends."""
    _control(PR_SET_PDEATHSIG, signal_number)


def trim() -> None:
    """Give memory that the C library has freed back to the system, where it can be told to."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)


def _control(option: int, first: int = 0, second: int = 0) -> int:
    """Return what ``prctl`` answers, -1 for an error or a system that has none."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    arguments = (ctypes.c_ulong(value) for value in (first, second, 0, 0))
    return -1 if prctl is None else int(prctl(ctypes.c_int(option), *arguments))
