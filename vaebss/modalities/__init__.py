"""Kinds of signals: how a signal is pictured for a separator, and how shares become signals again."""
