"""What is mixed, and how: data modules of random mixtures."""
