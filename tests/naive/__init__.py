"""Slow, obvious twins of the kernels, a file for each module. Tests trust these, so read them."""
