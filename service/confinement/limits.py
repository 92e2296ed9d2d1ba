"""What a confined call may use, and the resource limits that hold it to that."""

import resource
from dataclasses import dataclass
from pathlib import Path

ANSWER_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may use.

    :param seconds: of time on the clock, with the wait for a free place.
    :param cpu_seconds: of processor time.
    :param memory_bytes: of address space beyond what the preloaded interpreter has mapped.
    :param answer_bytes: of the largest answer that is read from the child.
    """

    seconds: float = 60
    cpu_seconds: int = 60
    memory_bytes: int = 2 << 30
    answer_bytes: int = ANSWER_BYTES


def lower(
    memory_bytes: int, cpu_seconds: int | None, descriptors: int
) -> None:  # pragma: no cover - a confined process can write down no measurement.
    """Lower the limits of this process, for good.

    No byte written to a file, no core dump. The limit on processes binds every user but
    root, whom only the system call filter stops. Of processor time the hard limit lies a
    second above, because the kernel names the reason (SIGXCPU) at the soft limit only.

    :param memory_bytes: of address space beyond what is mapped already.
    :param cpu_seconds: of processor time; ``None`` sets no bound.
    :param descriptors: the number of file descriptors, below which new ones may be had.
    """
    ceilings = {
        resource.RLIMIT_AS: address_space() + memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: descriptors,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    if cpu_seconds is not None:
        ceilings[resource.RLIMIT_CPU] = cpu_seconds
    for limit, ceiling in ceilings.items():
        _, hard = resource.getrlimit(limit)
        bound = ceiling if hard == resource.RLIM_INFINITY else min(ceiling, hard)
        resource.setrlimit(limit, (bound, bound + 1 if limit == resource.RLIMIT_CPU and bound != hard else bound))


def address_space() -> int:
    """Return the bytes of address space that this process has mapped."""
    return _statm("self")[0] * resource.getpagesize()


def anonymous_memory(process: int | str = "self") -> int:
    """Return the bytes that a process holds in memory and that stand in no file.

    Pages that a child shares with its parent since the fork count for both.

    :raises OSError: there is no such process.
    """
    _, resident, of_files, *_ = _statm(process)
    return (resident - of_files) * resource.getpagesize()


def _statm(process: int | str) -> list[int]:
    return [int(pages) for pages in Path(f"/proc/{process}/statm").read_text().split()]
