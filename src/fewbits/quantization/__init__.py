"""Quantizing: recipe, placement, plan, apply."""
