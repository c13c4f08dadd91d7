"""A page in the browser on which digits are drawn and notes chosen, mixed and separated again."""
