"""The environment of a benchmark: processor, instruction set, cores, load, number of ranks."""

import os
from pathlib import Path

from fedmpi.bench.measure import Found
from fedmpi.bench.processes import Launch
from fedmpi.doctor import processors
from fedmpi.errors import ConfigError
from fedmpi.scheduler import in_job

MOST = 4  # ranks by default
CROWD = 16  # ranks that may share a core
LARGEST = 4096  # ranks in a job
WIDEST = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("asimd", "NEON"))


def described(launch: Launch, cpuinfo: Path = processors.CPUINFO) -> Found:
    """Return processor, widest vector instructions, cores, and the load before, for JSON."""
    text = processors.described(cpuinfo)
    flags = processors.flags(text)
    found = [shown for flag, shown in WIDEST if flag in flags]
    return {
        "processor": processors.model(text) or "unknown processor",
        "instructions": found[0] if found else "unknown instructions",
        "cores": launch.cores,
        "load_before": os.getloadavg(),
    }


def ranks(launch: Launch, asked: int | None = None, option: str = "bench --ranks") -> int:
    """Return the number of ranks to measure with: `asked`, or the number of cores, at most 4.

    Raises ConfigError, which names the `option`, if they cannot be started. In a job of a batch
    system there may be further nodes, so the limit does not depend on this node's cores.
    """
    count = min(MOST, launch.cores) if asked is None else asked
    most = LARGEST if in_job(launch.environ) else CROWD * launch.cores
    if not 1 <= count <= most:
        why = "" if most == LARGEST else f", {CROWD} for each core"
        raise ConfigError(f"{option} {count}: must be from 1 to {most:,}{why}")
    if count > 1 and not launch.mpiexec:
        raise ConfigError("bench: needs mpiexec: install fedmpi[mpich], or an MPI")
    return count
