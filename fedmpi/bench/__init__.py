"""Benchmarks: kernels, collectives and whole rounds, as ratios within one run."""
