"""The command lines, one file a script, of the same name."""
