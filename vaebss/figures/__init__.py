"""Figures of matplotlib, for TensorBoard, for files and for the page."""
