"""Weights and cards of the models that come with the package; catalogue.py reads them."""
