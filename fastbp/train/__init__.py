"""Training: optimizers, the trainer and its runs, callbacks, checkpoints, progress."""
