"""Training images that are moved and mirrored each time they are used: [data] augment."""

import numpy as np

from fedmpi.errors import ConfigError

PAD = 4  # pixels on all sides


def crop_flip(x, batch, rng):
    """Return float32[n, C, H, W]: the images x[batch], each moved and perhaps mirrored.

    An image is padded by 4 pixels on all sides by reflection, cut to its old size at a place
    drawn uniformly, and mirrored left to right with probability 1/2, as in the code of Yu et
    al. (arXiv:2106.06921, both versions; theirs pads once more by zeros in the second).

    Parameters
    ----------
    x : float32[N, C, H, W]
        H and W are 5 or more.
    batch : int64[n]
    rng : numpy.random.Generator
        Draws n moves, then n flips.
    """
    moves = rng.integers(-PAD, PAD + 1, (2, len(batch)))
    mirrored = rng.integers(0, 2, len(batch)) == 1
    rows = _places(moves[0], x.shape[2])
    columns = _places(moves[1], x.shape[3])
    columns[mirrored] = columns[mirrored, ::-1]
    channels = np.arange(x.shape[1])[:, None, None]
    return x[batch[:, None, None, None], channels, rows[:, None, :, None], columns[:, None, None]]


def _places(moves, size):
    """int64[n, size]: from which line each line comes, reflected at the edges."""
    lines = np.abs(np.arange(size) + moves[:, None])
    return np.where(lines < size, lines, 2 * (size - 1) - lines)


def augmentation_of(name, dataset):
    """Return what [data] `augment` names: crop_flip, or None for False.

    Raises ConfigError if the data are no images, or too small to be reflected.
    """
    if not name:
        return None
    shape = dataset.x_train.shape[1:]
    if dataset.kind != "image" or min(shape[1:]) <= PAD:
        found = "x".join(map(str, shape)) if dataset.kind == "image" else dataset.kind
        raise ConfigError(
            f"data.augment = {name!r}: takes images of {PAD + 1}x{PAD + 1} or more, and "
            f"{dataset.name} has {found}; use augment = false"
        )
    return {"crop-flip": crop_flip}[name]
