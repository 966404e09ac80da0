"""What a benchmark ran on: processor, instruction set, cores, load, and how many ranks."""

import os
from pathlib import Path

from fedmpi.bench.measure import Found
from fedmpi.bench.processes import Launch
from fedmpi.errors import ConfigError

MOST = 4  # ranks, if nobody says how many
WIDEST = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("asimd", "NEON"))


def described(launch: Launch, cpuinfo: Path = Path("/proc/cpuinfo")) -> Found:
    """Return processor, widest vector instructions, cores, and the load before, for JSON."""
    processor, flags = "unknown processor", frozenset[str]()
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name == "model name":
                processor = value
            if name in ("flags", "Features"):
                flags = frozenset(value.split())
    found = [shown for flag, shown in WIDEST if flag in flags]
    return {
        "processor": processor,
        "instructions": found[0] if found else "unknown instructions",
        "cores": launch.cores,
        "load_before": os.getloadavg(),
    }


def ranks(launch: Launch, asked: int | None = None) -> int:
    """Return how many ranks to measure with: `asked`, or the cores there are, at most 4.

    Raises ConfigError if that many cannot be started.
    """
    count = min(MOST, launch.cores) if asked is None else asked
    if count < 1:
        raise ConfigError(f"--ranks {count}: must be 1 or more")
    if count > 1 and not launch.mpiexec:
        raise ConfigError("bench: needs mpiexec: install fedmpi[mpich], or an MPI")
    return count
