"""The separators, as plain PyTorch: they know neither what they separate, nor how they are trained, nor the truth."""
