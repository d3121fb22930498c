"""Signals of a running model: metrics, references, drift."""
