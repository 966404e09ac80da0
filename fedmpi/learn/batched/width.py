"""The default number of clients of a chunk."""

from fedmpi.layout import Layout

# Target multiply-adds for one step of a whole chunk on a GPU, and the limits of the width.
_WORK, _LEAST, _MOST = 2e10, 16, 256
_ON_CPU = 16


def width_of(layout: Layout, batch_size: int, selected: int, device: str) -> int:
    """Return the width of a chunk, by a rule on the configuration and never on the machine.

    Bits may depend on the width, so it must not depend on the memory of a device or the number of
    ranks. On a GPU it is a power of two between 16 and 256 that gives a step about 2e10
    multiply-adds, and no larger than needed for `selected`, the clients of a round. On a CPU more
    clients at once gain nothing, and it is 16.

    Parameters
    ----------
    layout : Layout
        The layout of the whole model.
    batch_size : int
    selected : int
        Number of clients of a round, on all ranks together.
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
