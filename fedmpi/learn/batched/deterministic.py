"""torch set so that one computation gives one result: deterministic algorithms, plain float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact() -> Iterator[None]:
    """Let torch use deterministic algorithms and one way to compute each convolution.

    An operation without a deterministic algorithm is a RuntimeError with its name. Matrices are
    multiplied in float32, not in TF32. On a GPU the command line has to set
    CUBLAS_WORKSPACE_CONFIG before it is first used, or torch refuses them. What torch was set to
    before is restored afterwards.
    """
    before = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic  # whose attribute torch's types do not know
    filled = memory.fill_uninitialized_memory
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32
    # use_deterministic_algorithms would do the same, and load torch's compiler: 70 MB and a second.
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
