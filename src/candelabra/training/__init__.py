"""Training with Lightning: the module, optimizer groups, callbacks, checkpoints, tracking."""
