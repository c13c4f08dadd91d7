"""The kinds of data: one class for each, and the function that opens them."""
