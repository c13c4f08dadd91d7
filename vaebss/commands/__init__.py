"""Command lines: one file for each script, and the parts that they share."""
