"""Separators as plain PyTorch modules, independent of the kind of signal, of training and of true sources."""
