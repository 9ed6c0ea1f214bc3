"""Benchmarks: figures, never assertions. `make bench` runs those of the embedded default."""
