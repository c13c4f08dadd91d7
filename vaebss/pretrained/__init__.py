"""Weights and cards of the models that come with the package; vaebss.shipped reads them."""
