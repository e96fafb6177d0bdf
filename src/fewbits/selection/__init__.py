"""Choosing: candidates, trial, decision, and the journal that makes a run resumable."""
