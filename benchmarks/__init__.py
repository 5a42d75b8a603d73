"""Measurements of ultraplan, and of the programs people use today, on the same work. ``python -m benchmarks``."""
