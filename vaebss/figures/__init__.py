"""Matplotlib figures for TensorBoard, files and the demo."""
