"""Which GPUs torch can use."""

import torch


def gpus():
    """Return the CUDA version that torch was built for (or None), and the number of GPUs."""
    return torch.version.cuda, torch.cuda.device_count() if torch.version.cuda else 0
