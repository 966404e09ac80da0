"""float32 in 16 bits: the upper half, rounded to nearest even (bfloat16)."""

import numpy as np


def narrowed(values):
    """Return finite float32[k] as uint16[k]; 8 bits of precision are left."""
    bits = values.view(np.uint32)
    return ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def widened(halves):
    """Return uint16[k] as the float32[k] it stands for."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
