"""Twin of kernels/batch.py."""

import numpy as np


def normalise(out, images, index, scale, shift):
    for n, sample in enumerate(index):
        for c in range(len(scale)):
            for i in range(out.shape[2]):
                scaled = np.float32(np.float32(images[sample, c, i]) * scale[c])
                out[n, c, i] = np.float32(scaled + shift[c])
