"""The GPUs that torch can use, and the GPU of each rank."""

import torch

from fedmpi.errors import ConfigError


def gpus() -> tuple[str | None, int]:
    """Return the CUDA version that torch was built for (or None), and the number of GPUs."""
    return torch.version.cuda, torch.cuda.device_count() if torch.version.cuda else 0


def memories() -> tuple[list[int], list[str]]:
    """Return the bytes of memory of each GPU that torch can use, and their names."""
    found = [torch.cuda.get_device_properties(number) for number in range(gpus()[1])]
    return [one.total_memory for one in found], [one.name for one in found]


def gpu_of(rank: int, ranks: int, count: int) -> int:
    """Return the GPU of rank `rank` of the `ranks` ranks of a node, out of `count` visible GPUs.

    If there are more ranks than GPUs, neighbouring ranks share a GPU. A rank that sees only one
    GPU uses that one, as in jobs with --gpus-per-task.
    """
    return min(rank * count // ranks, count - 1)


def device_for(wanted: str, rank: int, ranks: int) -> str:
    """Return the torch name of a rank's device: "cpu", or "cuda:0" and so on.

    Parameters
    ----------
    wanted : "auto", "cpu" or "cuda"
        The value of run.device. "auto" is the CPU, so that a file means the same everywhere.
    rank, ranks : int
        The number of this rank on its node, and the number of ranks there.

    Raises
    ------
    ConfigError
        If run.device asks for a GPU and there is none.
    """
    if wanted != "cuda":
        return "cpu"
    build, count = gpus()
    if not count:
        why = f"finds no GPU (CUDA {build})" if build else "was built without CUDA"
        raise ConfigError(
            f"run.device = 'cuda': torch {torch.__version__} {why}; `fedmpi doctor CONFIG` says "
            "more, or use device = 'cpu'"
        )
    return f"cuda:{gpu_of(rank, ranks, count)}"
