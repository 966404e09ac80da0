"""Reproducible computation with torch: deterministic algorithms, plain float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact() -> Iterator[None]:
    """Make torch use deterministic algorithms, and a single algorithm for each convolution.

    An operation without a deterministic algorithm raises a RuntimeError with its name. Matrices
    are multiplied in float32, not in TF32. Before a GPU is first used, the command line has to set
    CUBLAS_WORKSPACE_CONFIG, or torch refuses to multiply matrices. Torch's settings are restored
    afterwards.
    """
    before = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic  # torch's types lack the attribute used below
    filled = memory.fill_uninitialized_memory
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32
    # use_deterministic_algorithms does the same, but loads torch's compiler: 70 MB and a second.
    torch.set_deterministic_debug_mode("error")
    memory.fill_uninitialized_memory = False
    matmul.allow_tf32 = False
    try:
        with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_deterministic_debug_mode(before)
        memory.fill_uninitialized_memory = filled
        matmul.allow_tf32 = tf32
