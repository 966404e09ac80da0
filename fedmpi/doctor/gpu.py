"""Check that torch has the GPU that run.device asks for."""

import re
from collections.abc import Sequence

from fedmpi.doctor import OK, WRONG, Finding
from fedmpi.errors import counted

# The oldest driver of each generation of CUDA (CUDA Toolkit release notes, table 2).
DRIVERS = {11: 450, 12: 525, 13: 580}


def gpu(
    wanted: str, build: str | None, count: int, visible: str | None, driver: str = ""
) -> Finding | None:
    """Check that torch has the device that run.device asks for; None unless it is "cuda".

    `build` is the CUDA version that torch was built for or None, `count` its GPUs here,
    `visible` the value of CUDA_VISIBLE_DEVICES or None, and `driver` the text of
    /proc/driver/nvidia/version, or "".
    """
    if wanted != "cuda":
        return None
    if not build:
        return Finding(WRONG, "gpu", "run.device is cuda, but this torch was built without it",
                       "pip install torch from https://download.pytorch.org/whl/cu126 (see "
                       "pytorch.org), or --set run.device=cpu")
    found = re.search(r"Kernel Module\D*\s(\d+)\.", driver)
    needed = DRIVERS.get(int(build.partition(".")[0]), 0)
    if found and int(found[1]) < needed:
        return Finding(WRONG, "gpu", f"torch is built for CUDA {build}, which needs driver "
                       f"{needed}; this machine has {found[1]}",
                       f"install torch for an older CUDA, or driver {needed} or newer")
    if not count and visible is not None:
        return Finding(WRONG, "gpu", f"no GPU: CUDA_VISIBLE_DEVICES={visible!r}",
                       "unset CUDA_VISIBLE_DEVICES; in a job: sbatch --gpus-per-task=1")
    if not count:
        return Finding(WRONG, "gpu", f"torch is built for CUDA {build}, but finds no GPU",
                       "nvidia-smi shows whether the driver finds one; in a job: sbatch "
                       "--gpus-per-task=1; or --set run.device=cpu")
    return Finding(OK, "gpu", f"{count} of CUDA {build}")


def shared(
    ranks: int, memories: Sequence[int], names: Sequence[str], needed: int
) -> Finding | None:
    """Check that the ranks of a node fit into the memory of its GPUs; None if it has no GPU.

    `memories` are the bytes and `names` the names of the visible GPUs. `needed` are the bytes that
    a rank needs before any training: the CUDA context and its libraries.
    """
    if not memories:
        return None
    each = -(-ranks // len(memories))
    least = min(memories)
    kind = f"{len(memories)} x {names[0]}" + (", a MIG slice" if "MIG" in names[0] else "")
    value = f"{counted(each, 'rank')} for each of {kind}, {least / 1e9:.3g} GB"
    if each * needed > least:
        return Finding(WRONG, "gpu memory", value + ": too many ranks",
                       f"at most {least // needed} ranks for each; fedmpi check --estimate CONFIG "
                       "tells what a rank needs")
    return Finding(OK, "gpu memory", value)
