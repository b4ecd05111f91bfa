"""A trainer's steps, history and last run of `fit`, and how checkpoints and copies keep them."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Self

from fastbp._base.guard import set_unguarded
from fastbp._base.interrupts import held_back
from fastbp._base.schedule import Schedule
from fastbp.kernels.optimizers import CARRIED
from fastbp.kernels.run.frame import SEED
from fastbp.nn.loss import Loss
from fastbp.nn.own_activations import OwnActivation
from fastbp.train.checkpoint import damaged, fill, read_checkpoint, write_checkpoint
from fastbp.train.history import History
from fastbp.train.listeners import Listeners
from fastbp.train.state import RunState, TrainerState
from fastbp.train.steps import Steps


class Resumable(Steps):
    """Steps, and how many were made in which run, so that a run can go on: here, in a copy, or from a checkpoint."""

    history: Final[History]

    def __init__(self, *parts: Any, rng: Any = None) -> None:
        super().__init__(*parts, rng=rng)
        self.history = History()
        self._steps = 0  # without those of an epoch that has not ended
        self._last_run: RunState | None = None
        self._listeners: Listeners | None = None  # the callbacks of that run, while it goes on
        self._run_steps = 0  # of that run, while it goes on

    @property
    def steps(self) -> int:
        """Updates made so far."""
        return self._steps + (self._last_run.done if self._last_run else 0)

    def _progress(self) -> tuple[int, int]:
        if self._total_steps is not None:
            return self.steps, self._total_steps
        if self._run_steps and self._last_run is not None:
            return self._last_run.step(self._last_run.done), self._run_steps
        raise ValueError(
            "Trainer expects total_steps, the updates that its schedules span, for steps outside of fit: pass it to "
            "Trainer"
        )

    def _rate_figure(self) -> dict[str, float]:
        """Return the learning rate of the last step, where a schedule says it, as a figure of an epoch."""
        lr = self._optimizer.lr
        if not isinstance(lr, Schedule):
            return {}
        made, total = self._progress()
        return {"lr": float(lr.values(total, max(made - 1, 0), 1)[0])}

    def _run_to_resume(self) -> RunState | None:
        """Return the last run; None if there is none."""
        self._collect()  # Ctrl-C may have ended the run while its callbacks were asked
        return self._last_run

    def _begin_run(self, run: RunState) -> None:
        """Make this the last run: one that begins, or the one before, which goes on."""
        with held_back():  # steps of an epoch that will not go on count as made
            self._steps = self._steps if run is self._last_run else self.steps
            self._last_run, self._listeners = run, None

    def _end_epoch(self, figures: Mapping[str, float]) -> None:
        """Note the end of an epoch of the running run."""
        assert self._last_run is not None
        with held_back():
            self._steps += self._last_run.done
            self._last_run.end_epoch(figures)
            self.history.append(figures)

    def _collect(self) -> None:
        """Write what the callbacks of the running run remember into its state."""
        if self._listeners is not None:
            self._listeners.collect()

    def _end_run(self) -> None:
        """Keep the callbacks' states, and let go of the callbacks, which belong to the caller."""
        self._run_steps = 0
        self._collect()
        self._listeners = None

    def _state_now(self) -> TrainerState:
        """Return the trainer's state: its own arrays, not copies."""
        self._check_optimizer()
        self._collect()
        return TrainerState(
            self.model,
            self.loss,
            self.optimizer,
            (self.clip_norm, self.clip_value),
            self.ema,
            self._state,
            self._hyper[CARRIED],
            int(self._settings[SEED]),
            self._steps,
            self.history,
            self._last_run,
            self._total_steps,
        )

    def _take(self, state: TrainerState) -> None:
        """Take the state of a trainer of the same model, loss and optimizer."""
        fill(self._state, state.optimizer_state, "state")
        fill(self._hyper[CARRIED], state.powers, "powers")
        self._steps, self._last_run, self._total_steps = state.steps, state.run, state.total_steps
        self._set_draws(state.seed, self.steps)
        set_unguarded(self, "history", state.history)

    def __getstate__(self) -> dict[str, Any]:
        self._collect()
        # a resumed run brings callbacks of its own
        return {**super().__getstate__(), "_listeners": None, "_run_steps": 0, "_seed": int(self._settings[SEED])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rest = dict(state)
        seed = rest.pop("_seed", 0)
        super().__setstate__(rest)
        self._set_draws(seed, self.steps)

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write all that it takes to go on from here to the same bits; `load_checkpoint` reads it.

        That is the model, the optimizer and its state, the loss, the history, and of the last run of `fit` its order,
        its random generator, the running epoch so far, and what its callbacks remember. Not the data. A callback may
        call this. The file is in safetensors' format, with a checksum, and appears whole or not at all.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        TypeError
            If the optimizer or the random generator is of a class of your own, or something holds what JSON cannot.
        OSError
            If the file cannot be written; one that was there before is as it was.
        RuntimeError
            If another thread is in this trainer.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastbp
        >>> path = os.path.join(tempfile.mkdtemp(), "run.checkpoint")
        >>> trainer = fastbp.Trainer(fastbp.mlp([2, 3], rng=0))
        >>> loss = trainer.step(np.ones((4, 2)), [0, 1, 2, 0])
        >>> trainer.save_checkpoint(path)
        >>> twin = fastbp.Trainer.load_checkpoint(path)
        >>> twin.steps, twin.optimizer
        (1, Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, amsgrad=False))
        >>> x = np.eye(2)
        >>> twin.step(x, [0, 1]) == trainer.step(x, [0, 1])
        True
        """
        with self._alone:
            write_checkpoint(path, self._state_now())

    @classmethod
    def load_checkpoint(
        cls,
        path: str | os.PathLike[str],
        loss: Loss | Callable[..., tuple[float, Any]] | None = None,
        activations: Iterable[OwnActivation] = (),
        schedules: Iterable[Callable[[float], float]] = (),
    ) -> Self:
        """Read a trainer that `save_checkpoint` wrote; ``fit(..., resume=True)`` goes on with its run.

        Parameters
        ----------
        path : str or path
        loss : callable or loss object, optional
            The loss of your own that it was written with: the file has its name and a digest of its source alone, and
            nothing is imported. One of another name or other options is an error, another source a UserWarning.

        activations : iterable of OwnActivation, default ()
            Those of your own that the model has, likewise.
        schedules : iterable of callable, default ()
            Functions of your own that schedules are by (`fastbp.schedules.function`), likewise.

        Returns
        -------
        Trainer
            With a model of its own.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged in any way, or is no checkpoint; or if it was written with a loss of your own and
            `loss` is not that one.
        TypeError
            If it was written with one of the library's losses, and `loss` is given.

        Examples
        --------
        See `save_checkpoint`.
        """
        state = read_checkpoint(path, loss, activations, schedules)
        with damaged(path):
            more = {} if state.ema is None else {"ema": state.ema}
            trainer = cls(state.model, state.loss, state.optimizer, *state.clips, **more)
            trainer._take(state)
        return trainer
