"""The CPU engine of fedmpi: forward and backward passes of a network as array kernels."""
