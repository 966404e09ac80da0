"""How many clients a chunk has where the configuration does not say."""

from fedmpi.layout import Layout

# Multiply-adds of one step of a whole chunk that a GPU is to be given at once, and the limits.
_WORK, _LEAST, _MOST = 2e10, 16, 256
_ON_CPU = 16


def width_of(layout: Layout, batch_size: int, selected: int, device: str) -> int:
    """Return the width of a chunk: a rule on the configuration alone, never on the machine.

    Bits may depend on the width, so neither the memory of a device nor the number of ranks
    counts. On a GPU it is a power of two that gives a step about 2e10 multiply-adds, between 16
    and 256, and not more than are needed for `selected`, the clients of a round. On a processor
    more clients at once gain nothing, and it is 16.

    Parameters
    ----------
    layout : Layout
        Of the whole model.
    batch_size : int
    selected : int
        Clients of a round, on all ranks together.
    device : str
        "cpu", or a GPU.
    """
    if device == "cpu":
        return _ON_CPU
    each = max(1, batch_size * sum(layer.macs for layer in layout.layers))
    width = _LEAST
    while width < _MOST and 2 * width * each <= _WORK and width < selected:
        width *= 2
    return width
