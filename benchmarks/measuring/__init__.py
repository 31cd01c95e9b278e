"""Measuring for benchmarks: alternating timers, peak memory, and the environment."""
