"""Measuring: speed, memory, accuracy with intervals, comparison layer by layer."""
