"""torch set so that one computation gives one result: deterministic algorithms, plain float32."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def exact(device: str) -> Iterator[None]:
    """Let torch use deterministic algorithms and one way to compute each convolution.

    An operation without a deterministic algorithm is a RuntimeError with its name. Matrices are
    multiplied in float32, not in TF32. What torch was set to before is restored afterwards.
    """
    if device != "cpu":
        os.environ.setdefault(WORKSPACE, ":4096:8")  # cuBLAS reads it when it is first used
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    matmul.allow_tf32 = False
    try:
        with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled
        matmul.allow_tf32 = tf32
