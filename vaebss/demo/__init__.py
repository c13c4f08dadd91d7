"""The demo: a web page on which users draw digits or choose notes, which are mixed and separated."""
