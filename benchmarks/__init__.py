"""Benchmarks on real models; they print ratios and need the assets folder."""
