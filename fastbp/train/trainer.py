"""The trainer: what it is made of, and `fit`, which makes many steps a compiled call."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.docs import listed, with_lists
from fastbp._base.guard import refuse_overrides
from fastbp._base.inputs import Readable
from fastbp.data.blocks import Blocks
from fastbp.nn.loss import Loss
from fastbp.nn.losses import LOSSES
from fastbp.nn.own_losses import loss_of
from fastbp.nn.sequential import Sequential
from fastbp.train.alone import Once
from fastbp.train.batches import Batches, refuse
from fastbp.train.callbacks import Callback, checked_callbacks
from fastbp.train.evaluation import Evaluating, MetricLike
from fastbp.train.fit import Asked, figure_names, make_run
from fastbp.train.given import samples_of
from fastbp.train.history import History
from fastbp.train.needs import RUN, VALIDATED
from fastbp.train.optimizers import KINDS, OPTIMIZERS, Optimizer, optimizer_of
from fastbp.train.progress import Progress
from fastbp.train.rows import Rows
from fastbp.train.shown import compiling, what_shows
from fastbp.train.streamed import Streamed
from fastbp.train.validation import Validation

__all__ = ["Trainer"]

Array = NDArray[Any]
BATCH_SIZE = 128  # of fit
BATCHES = "an iterable of batches"


@with_lists(
    losses=", ".join(f'"{name}"' for name in LOSSES),
    optimizers=listed(KINDS),
    rules=", ".join(f'"{name}"' for name in OPTIMIZERS),
)
class Trainer(Evaluating):
    """Trains a model: forward, loss, backward and update in one compiled call.

    Objects of subclasses that override what the kernels compute (a loss's `evaluate`, an optimizer's `step`, a layer's
    `forward`) are refused, because the steps would not call that.

    Parameters
    ----------
    model : Sequential
    loss : str, loss object or callable, default "softmax_cross_entropy"
        One of {losses}.
        Or an object with options such as ``fastbp.CrossEntropyLoss(label_smoothing=0.1)``, or one of your own: a
        function of a row under `fastbp.row_loss`, which is compiled into the step; or any function
        ``(outputs, targets) -> (loss, doutputs)`` in NumPy, called once a step with (batch, out_features) and the
        batch's targets, whatever they are. One with a parameter `sample_weight` is given it too, the rows' weights or
        None; without, weights are refused.
    optimizer : str or optimizer, default "adam"
        {optimizers}.
        Or one of them with its own numbers by name: {rules}.
        Its numbers may be changed between steps; another kind needs a new trainer.
    clip_norm : float, optional
        Before each update all gradients are scaled to a norm of at most this, as by PyTorch's ``clip_grad_norm_``.
    clip_value : float, optional
        Before that, each gradient is moved into ``[-clip_value, clip_value]``, as by ``clip_grad_value_``.
    ema : float, optional
        Keep moving averages of the parameters, such as 0.999: after each update ``average <- ema average + (1 - ema)
        W``, beginning with the W after the first one. `evaluate` takes the averages then, and so do the figures of
        validation data, and `EarlyStopping`, which brings the best averages back. ``model`` keeps the parameters that
        are trained, with ``model.predict`` and ``model.save``; `averaged_model` is the other one.
    rng : int or numpy.random.Generator, optional
        Seed of Dropout, which `step` and `forward` draw from; each `fit` begins with one from its own `rng`. Without it
        they differ from run to run.
    total_steps : int, optional
        How many updates the schedules of the optimizer and of layers span (see `fastbp.schedules`): an update has the
        progress ``steps / total_steps``, whichever method makes it, and from there on the last number stays. Without
        it a schedule spans the steps of each `fit`, steps an epoch times `epochs`; a run that is resumed with other
        epochs goes on along the curve of all of them; `step` and `update` are refused but in callbacks, where they have
        the numbers of the run's next step.

    Attributes
    ----------
    history : History
        Of the epochs that `fit` ended.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or the model's outputs do not suit the loss.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> x, y = fastbp.load_digits()
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0), optimizer=fastbp.Adam(1e-2))
    >>> history = trainer.fit(x / 16, y, epochs=20, rng=0, progress=False)
    >>> trainer.evaluate(x / 16, y)["accuracy"] > 0.97
    True
    """

    _compiled: ClassVar = ("step",)  # in `fit`

    def __init__(
        self,
        model: Sequential,
        loss: str | Loss | Callable[..., tuple[float, Array]] = "softmax_cross_entropy",
        optimizer: str | Optimizer | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        *,
        ema: float | None = None,
        rng: int | np.random.Generator | None = None,
        total_steps: int | None = None,
    ) -> None:
        if not isinstance(model, Sequential):
            raise TypeError(f"Trainer expects model to be a Sequential, got {type(model).__name__}")
        if not isinstance(loss, Loss):
            loss = loss_of(loss)
        if loss.reduction == "none":
            raise ValueError("Trainer expects a loss with reduction 'mean' or 'sum', got 'none'")
        optimizer = optimizer_of(optimizer)
        for what, part in (("a model", model), ("a loss", loss), ("an optimizer", optimizer)):
            refuse_overrides(part, "Trainer", what)
        for layer in model:
            for each in layer._each():
                refuse_overrides(each, "Trainer", "layers")
        loss.check_outputs(model._outputs)
        for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if limit is not None and check.number(limit, "Trainer", name) == 0:
                raise ValueError(f"Trainer expects {name} greater than 0, or None for no clipping, got 0")
        if ema is not None and check.number(ema, "Trainer", "ema", 0.0, 1.0, open_high=True) == 0:
            raise ValueError("Trainer expects ema greater than 0, or None for no averages, got 0")
        if total_steps is not None:
            total_steps = check.integer(total_steps, "Trainer", "total_steps")
        super().__init__(model, loss, optimizer, clip_norm, clip_value, ema, total_steps, rng=rng)
        self._one_fit = Once()

    def fit(
        self,
        x: ArrayLike | Readable | Blocks | Iterable[Any],
        y: ArrayLike | None = None,
        *,
        epochs: int = 1,
        batch_size: int = BATCH_SIZE,
        shuffle: bool = True,
        rng: int | np.random.Generator | None = None,
        validation_data: tuple[Any, ...] | Blocks | None = None,
        validation_split: float | None = None,
        metrics: Iterable[MetricLike] = (),
        sample_weight: ArrayLike | None = None,
        steps_per_epoch: int | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | Progress | None = None,
        resume: bool = False,
        drop_last: bool = False,
    ) -> History:
        """Train for some epochs.

        Parameters
        ----------
        x, y, sample_weight
            As in `step`, for all samples. Or x alone, an iterable of batches ``(x, y)`` or ``(x, y, sample_weight)``:
            a list of them, a DataLoader of PyTorch's, a generator. Each is a step, in the order in which they come, and
            all epochs have as many. `batch_size`, `shuffle`, `drop_last` and `validation_split` are not for them. Or x
            alone, `fastbp.Blocks`: rows that are read while steps run, such as those of files larger than memory.
        epochs : int, default 1
            How often to go through the samples.
        batch_size : int, default 128
            Rows of a step; the last step of an epoch takes what is left, see `drop_last`.
        shuffle : bool, default True
            Whether each epoch takes the samples in a new order: a permutation of all rows; of `fastbp.Blocks`, which
            are not all in memory, one of the blocks, and of the rows in each window of blocks that are neighbours then.
        rng : int or numpy.random.Generator, optional
            Seed of the orders, and of Dropout; without it they differ from run to run.
        validation_data : (x, y), (x, y, sample_weight) or Blocks, optional
            Evaluated after each epoch, see `evaluate`, as "val_loss", "val_accuracy" and so on.
        validation_split : float, optional
            The part of the rows, in (0, 1), that is held out and evaluated instead, in a copy: rows at random by `rng`,
            of class labels the same part of each class (as scikit-learn's early stopping does, while Keras takes the
            last rows). The same ones in a run that is resumed.
        metrics : iterable of str or callable, default ()
            What is evaluated beside the loss, as "val_f1" and so on; see `evaluate`. It is of the validation rows: to
            see it of the training rows as well, let a callback add what `evaluate` returns to its figures.
        steps_per_epoch : int, optional
            How many batches of an iterable are an epoch; one that ends meanwhile begins anew. Without it an epoch is
            one iteration, so a generator is good for one.
        callbacks : iterable of Callback
            Called between steps and epochs, and may change what trains; see `fastbp.Callback`.
        progress : bool, optional
            Without it a bar with figures, speed and the time left is shown on a terminal or in a notebook, on the
            standard error, and there how much is compiled at first; elsewhere, in a log file for instance, nothing.
            With True plain lines are written there: one an epoch, some 50 in all of many epochs, and one each 30 s of a
            long epoch. With False nothing is shown.
        resume : bool, default False
            Go on with the last run, of this trainer or of the checkpoint that it was loaded from: in the middle of an
            epoch too, in the same order, to the same bits. `epochs` counts those of the whole run, so a run at its end
            does nothing more; without a run before, one begins. Pass the same data and arguments: other numbers of
            rows, another `batch_size`, `shuffle` or `drop_last` are refused. `rng` is not looked at, as the run has its
            own. The batches of an iterable that come before are gone through again: so it has to begin anew and to give
            the same, and a generator can only begin an epoch. Blocks that come before in an epoch are not read again,
            but for those of the window in which the run goes on, and the first of the source, which says what rows are.
        drop_last : bool, default False
            Whether an epoch leaves out the rows after its last whole batch, as PyTorch's DataLoader does: with
            `shuffle` other ones in each epoch.

        Returns
        -------
        History
            Of the epochs of this run. "loss" and "accuracy" are means over an epoch's rows, as they count, each row's
            before the update of its batch. "lr" is the learning rate of an epoch's last step, where a schedule says it.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or is not that of the run to resume; nothing is changed then.
        KeyError
            If a callback monitors a figure that this run does not have.
        RuntimeError
            If another thread is in this trainer, or this is called by a callback of its own `fit`.
        NotFiniteError
            At the first step whose loss is infinite or NaN, before its update: see `fastbp.NotFiniteError`.
        KeyboardInterrupt
            On Ctrl-C, at a step's end: within some 100 ms, or as long as a single step takes, or reading a block.
            `history` has the epochs that ended, and ``fit(..., resume=True)`` goes on from there; so it does after an
            exception in a callback.

        Examples
        --------
        >>> import fastbp
        >>> x, y = fastbp.load_digits()
        >>> trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0))
        >>> trainer.fit(x, y, epochs=2, rng=0, progress=False).epochs
        2
        >>> trainer.fit(x, y, epochs=5, resume=True, progress=False).epochs
        5
        """
        if type(self).step is not Trainer.step:
            raise TypeError(
                f"fit makes its steps in compiled code and would not call {type(self).__name__}.step; call step in a "
                "loop of your own, or pass a Callback"
            )
        shows, shuffle = what_shows(progress), check.flag(shuffle, "fit", "shuffle")
        resume, drop_last = check.flag(resume, "fit", "resume"), check.flag(drop_last, "fit", "drop_last")
        with compiling(progress):
            validation = Validation(validation_data, validation_split, metrics)
            calls = VALIDATED if validation else RUN
            given: Rows | Batches
            if isinstance(x, Blocks):
                refuse("blocks", y=y, sample_weight=sample_weight, steps_per_epoch=steps_per_epoch)
                refuse("blocks", validation_split=validation_split)
                given = Streamed(x, shuffle, partial(samples_of, self, calls=calls))
            elif y is None:
                other_size = None if batch_size == BATCH_SIZE else batch_size
                refuse(BATCHES, batch_size=other_size, sample_weight=sample_weight, validation_split=validation_split)
                refuse(BATCHES, drop_last=drop_last or None)
                given = Batches(x, steps_per_epoch, partial(samples_of, self, calls=calls))
            elif steps_per_epoch is not None:
                raise ValueError("fit expects steps_per_epoch with an iterable of batches alone, got it with x and y")
            else:
                given = Rows(samples_of(self, x, y, sample_weight, calls), shuffle)
            epochs = check.integer(epochs, "fit", "epochs")
            batch_size = check.integer(batch_size, "fit", "batch_size")
            generator = check.generator(rng, "fit")
            callbacks = checked_callbacks(callbacks, *figure_names(self, given.first, validation))
            asked = Asked(given, epochs, batch_size, generator, validation, callbacks, resume, drop_last)
            with self._alone, self._one_fit:
                return make_run(self, asked, shows)

    def __repr__(self) -> str:
        sizes = "-".join(str(n) for n in (self.model.in_features, *(layer.out_features for layer in self.model)))
        return f"Trainer({sizes}, {type(self.loss).__name__}, {self.optimizer!r}, {self.steps} steps)"
