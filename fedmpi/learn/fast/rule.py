"""Which engine trains a model: a rule on shapes, so that no bit depends on a timing.

The kernels fill a batch up to a multiple of 16 lanes. `fill` is the share of lanes that
hold samples. One thread of a Zen 5 core at batch 32, ratio of a whole step to torch eager:
LeNet-5 5.7, FedSkel's MNIST and CIFAR CNNs 4 and 4, MLPs 2.6, FedLP's CNN 1.45, ResNet-20
1.3, VGG-11 1.5, ResNet-18 1.15 (`fedmpi bench kernels` prints them). In large networks both
engines are bound by arithmetic and unfilled lanes are lost: FedLP's CNN, ResNet-20 and VGG-11 are
level at batch 10 (fill 0.63), 1.15 to 1.25 at 12 and 0.3 to 0.45 at 1. In small ones torch is bound
by everything else: LeNet-5 is 4 times as fast at batch 8 and 2.7 times at batch 1; FedSkel's MNIST
CNN, 2.3 million multiply-adds, 1.9 times at 8, 1.25 at 2, and level at 1.
"""

from fedmpi.learn.fast.chain import Unsupported, chain_of
from fedmpi.learn.fast.frame import LANES

# (multiply-adds of one sample, least fill) for which the kernels are never slower than torch.
_LEAST_FILL = ((1_000_000, 0.0), (5_000_000, 0.125), (200_000_000, 0.75))
_LEAST_FILL_BEYOND = 0.95


def choose(module, layout, input_shape, batch_size):
    """Return ("kernels" or "torch", reason) for `engine = "auto"`.

    Parameters
    ----------
    module : torch.nn.Module
    layout : Layout
        Of the module.
    input_shape : tuple of int
        Of one sample.
    batch_size : int
        Of the clients; short last batches are not looked at.
    """
    try:
        chain_of(module, layout, input_shape)
    except Unsupported as reason:
        return "torch", f"no kernels for {reason}"
    macs = sum(layer.macs for layer in layout.layers)
    fill = batch_size / (-(-batch_size // LANES) * LANES)
    least = next((fill_ for size, fill_ in _LEAST_FILL if macs <= size), _LEAST_FILL_BEYOND)
    shape = f"{macs} multiply-adds per sample, {fill:.0%} of lanes filled, {least:.0%} needed"
    return ("kernels" if fill >= least else "torch"), shape
