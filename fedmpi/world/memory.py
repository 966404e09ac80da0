"""The device memory that training a network needs, and the check that a device has it."""

from fedmpi.errors import ConfigError
from fedmpi.layout import Layout
from fedmpi.world.devices import Devices

FLOAT = 4  # bytes


def needed_mb(layout: Layout, batch_size: int, moments: int) -> float:
    """Return the megabytes (1e6 bytes) that a step of training on `batch_size` samples holds.

    These are the weights, their gradient and the optimiser's `moments` (2 for Adam, 1 for
    momentum), each as large as the model, and the outputs of convolutions and linear layers with
    their gradients, which are kept for the backward pass. The data, buffers of the implementation
    and the operating system are not counted.
    """
    outputs = 0
    for number, layer in enumerate(layout.layers):
        weight = layout.tensors[layout.layer_tensors[number][0]]
        # Each output element takes one multiply-add for each weight of its row.
        outputs += layer.macs // max(weight.size // weight.rows, 1)
    return FLOAT * ((2 + moments) * layout.size + 2 * batch_size * outputs) / 1e6


def check_memory(devices: Devices, client: int, needed: float) -> None:
    """Raise ConfigError if `client` cannot hold the `needed` megabytes of its plan."""
    there = devices.memory_mb[client]
    if needed > there:
        name = devices.names[devices.tier[client]]
        raise ConfigError(
            f"client {client} ({name}): training takes {needed:.4g} MB of memory, and "
            f"devices.memory_mb is {there:.4g}; use a smaller model or batch_size, or more memory"
        )
