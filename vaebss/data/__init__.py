"""Corpora of signals and mixtures, and data modules of random mixtures."""
