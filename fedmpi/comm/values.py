"""Values of a message: the kept coordinates, as float32 or as 16 bits each."""

import numpy as np

from fedmpi import kernels


def gather(values, support, out, value_type):
    """Write the coordinates of float32[P] `values` that `support` holds to `out`.

    `out` is uint8[nnz * bytes of a value], changed in place.
    """
    if value_type == "float32":
        _move(values, support, out.view(np.uint32))
        return
    kept = np.empty(out.size // 2, np.uint32)
    _move(values, support, kept)
    to = {"float16": kernels.halves.to_float16, "bfloat16": kernels.halves.to_bfloat16}
    to[value_type](kept, out.view(np.uint16))


def scatter(stream, support, value_type):
    """Return float32[P]: the values of uint8[...] `stream` on `support`, and 0 elsewhere."""
    if value_type == "float32":
        return _spread(stream.view(np.uint32), support)
    wide = np.empty(stream.size // 2, np.float32)
    if value_type == "float16":
        kernels.halves.from_float16(stream.view(np.uint16), wide)
    else:
        kernels.halves.from_bfloat16(stream.view(np.uint16), wide.view(np.uint32))
    return _spread(wide.view(np.uint32), support)


def _move(values, support, out):
    """Move the kept coordinates of float32[P] to uint32[nnz], bit by bit."""
    words = np.ascontiguousarray(values).view(np.uint32)
    if out.size == words.size:
        out[:] = words
    elif support.level == "coordinate":
        kernels.moves.compress(words, support.keep, out)
    else:
        kernels.moves.gather(words, support.starts, support.keep, out)


def _spread(kept, support):
    """Return float32[P] with uint32[nnz] `kept` on the support and 0 elsewhere."""
    size = support.layout.size
    if kept.size == size:
        return kept.copy().view(np.float32)
    out = np.empty(size, np.uint32)
    if support.level == "coordinate":
        kernels.moves.expand(kept, support.keep, out)
    else:
        kernels.moves.scatter(kept, support.starts, support.keep, out)
    return out.view(np.float32)
