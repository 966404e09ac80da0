"""Slow, obvious twins of the kernels, one file for each kernel module. The tests trust these, so read them."""
