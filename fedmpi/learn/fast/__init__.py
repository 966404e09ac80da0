"""The kernels engine: forward and backward passes of a network as calls of array kernels."""
