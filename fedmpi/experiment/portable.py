"""The instruction set of `run.portable`: the same code on every processor that is new enough.

Libraries choose their instructions by the processor, and these decide the last bits of a result.
This module restricts numba, torch, oneDNN, MKL and OpenBLAS to x86-64-v3 (AVX2 and FMA), which
processors have had since 2013 (Intel) and 2015 (AMD). numpy's own loops are not restricted: they
affect only the test loss.
"""

import sys
from collections.abc import MutableMapping

from fedmpi.doctor import processors
from fedmpi.doctor.processors import CPUINFO
from fedmpi.errors import ConfigError

LEVEL = "x86-64-v3"
VARIABLES = {
    "NUMBA_CPU_NAME": LEVEL,
    "NUMBA_CPU_FEATURES": "+avx2,+fma",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}


def hold_to_level(environ: MutableMapping[str, str]) -> None:
    """Restrict libraries that have not started yet to LEVEL, by variables set in `environ`.

    Values that the user has set are replaced. Raises ConfigError on a processor without LEVEL, and
    if numba has been loaded for another level.
    """
    found = processors.instructions(processors.described(CPUINFO)).split()[0]
    if found not in (LEVEL, "x86-64-v4"):
        raise ConfigError(f"run.portable needs a processor with {LEVEL}; this one has {found}")
    if "numba" in sys.modules and environ.get("NUMBA_CPU_NAME") != LEVEL:
        raise ConfigError("run.portable comes too late, numba is loaded: set NUMBA_CPU_NAME="
                          f"{LEVEL} before Python starts, or use the command `fedmpi run`")
    environ.update(VARIABLES)
