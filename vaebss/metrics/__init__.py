"""Metrics of separation."""
