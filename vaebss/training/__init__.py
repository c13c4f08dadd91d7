"""Training of separators: LightningModules that hold a model and its loss, and callbacks of a run."""
