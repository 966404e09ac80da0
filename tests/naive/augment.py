"""The slow, obvious twin of the augmentation."""

import numpy as np


def crop_flip(x, batch, moves, mirrored, pad=4):
    """Pad each image with numpy, cut it at its place, and mirror it if asked."""
    _, _, height, width = x.shape
    out = []
    for i, sample in enumerate(batch):
        wide = np.pad(x[sample], ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
        top, left = pad + moves[0, i], pad + moves[1, i]
        image = wide[:, top : top + height, left : left + width]
        out.append(image[:, :, ::-1] if mirrored[i] else image)
    return np.array(out)
