"""Runs that are stopped, and go on."""

import pickle

import pytest

from fastbp import Callback, Trainer


class Stop(Callback):
    """Saves a checkpoint after so many steps, and ends the run."""

    def __init__(self, path, steps):
        self.path, self.every = path, steps

    def on_steps_end(self, trainer):
        """Save, and raise."""
        trainer.save_checkpoint(self.path)
        raise InterruptedError


def stopped(trainer, steps, path, *data, loss=None, **how):
    """Stop a fit after so many steps; return the trainer of its checkpoint, a pickle of it, and itself.

    There is no pickle with a loss that is a function.
    """
    with pytest.raises(InterruptedError):
        trainer.fit(*data, callbacks=[Stop(path, steps)], **how)
    copies = [pickle.loads(pickle.dumps(trainer))] if loss is None else []
    return [Trainer.load_checkpoint(path, loss=loss), *copies, trainer]
