"""What is being separated: how a signal is pictured for a separator, and how shares become signals again."""
