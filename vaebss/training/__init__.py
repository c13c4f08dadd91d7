"""How separators learn: LightningModules that hold a model and its loss, and what a run does beside."""
