"""Calibration: statistics of activations from one pass in bounded memory."""
