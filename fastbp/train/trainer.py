"""The trainer: a compiled call a step, many steps a call in `fit`."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.docs import listed, with_lists
from fastbp._base.guard import refuse_overrides, set_unguarded
from fastbp._base.inputs import Readable, gathered, is_mapped
from fastbp._base.schedule import Schedule
from fastbp._base.sparse import StoredRows
from fastbp.kernels.losses import SOFTMAX_LABELS
from fastbp.nn.loss import Loss
from fastbp.nn.losses import LOSSES
from fastbp.nn.own_losses import FunctionLoss, loss_of
from fastbp.nn.sequential import Sequential
from fastbp.train.alone import Once
from fastbp.train.averages import evaluated
from fastbp.train.batches import Batches, make_epoch_of_batches, refuse
from fastbp.train.by_hand import ByHand
from fastbp.train.callbacks import Callback, checked_callbacks
from fastbp.train.epoch import make_epoch
from fastbp.train.evaluation import MetricLike, chosen_metrics, figures_of
from fastbp.train.history import History
from fastbp.train.listeners import Listeners
from fastbp.train.metrics import metric_names
from fastbp.train.needs import RUN, STEP, VALIDATED
from fastbp.train.optimizers import KINDS, OPTIMIZERS, Optimizer, optimizer_of
from fastbp.train.progress import Progress
from fastbp.train.samples import Part, Samples
from fastbp.train.shown import compiling, what_shows
from fastbp.train.state import RunState
from fastbp.train.steps import INT64
from fastbp.train.validation import Validation

__all__ = ["Trainer"]

Array = NDArray[Any]
BATCH_SIZE = 128  # of fit
_ONE, _NO_ORDER = range(1), np.empty(0, np.int64)  # a step alone, on its rows as they stand


@with_lists(
    losses=", ".join(f'"{name}"' for name in LOSSES),
    optimizers=listed(KINDS),
    rules=", ".join(f'"{name}"' for name in OPTIMIZERS),
)
class Trainer(ByHand):
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
        loss.check_outputs(model.out_features)
        for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if limit is not None and check.number(limit, "Trainer", name) == 0:
                raise ValueError(f"Trainer expects {name} greater than 0, or None for no clipping, got 0")
        if ema is not None and check.number(ema, "Trainer", "ema", 0.0, 1.0, open_high=True) == 0:
            raise ValueError("Trainer expects ema greater than 0, or None for no averages, got 0")
        if total_steps is not None:
            total_steps = check.integer(total_steps, "Trainer", "total_steps")
        super().__init__(model, loss, optimizer, clip_norm, clip_value, ema, total_steps, rng=rng)
        self._one_fit = Once()

    def _inputs(self, x: Any, y: ArrayLike, sample_weight: ArrayLike | None, calls: tuple[str, ...] = ()) -> Samples:
        """Check what steps take; `calls` are the entries that these will call, without any it is for an evaluation."""
        if isinstance(self._loss, FunctionLoss):
            self._loss.check_call(sample_weight)
        model, dtype = self._model, self._model.dtype
        rows = check.inputs(x, model.in_features, dtype, "Trainer")
        if isinstance(rows, StoredRows):
            model._rows_for(sparse=True, train=bool(calls))  # refuses where the layers cannot take it
        if calls:  # the labels are looked at by an entry
            self._expect(getattr(self._loss, "_code", SOFTMAX_LABELS), calls, rows)
        if model._codes is not None and not isinstance(rows, StoredRows) and not is_mapped(rows):
            model._codes.expect(rows, "Trainer")  # of a map a step looks at what it reads
        targets = self._loss.targets(y, len(rows), model.out_features, dtype)
        if calls:
            self._expect(targets.code, calls, rows, targets.values)
        weight = check.weights(sample_weight, len(rows), dtype, "Trainer", "sample_weight")
        if not calls:
            return Samples(rows, targets, weight)
        written = model._params, model._grads
        targets = targets._replace(values=check.apart(targets.values, *written))
        return Samples(check.apart(rows, *written), targets, check.apart(weight, *written))

    def step(self, x: ArrayLike | Readable, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Make one training step: forward, loss, backward, update.

        Parameters
        ----------
        x : array_like or sparse matrix of shape (batch, in_features)
            Numbers of another dtype than the model's, or with gaps between them in memory, are converted in compiled
            code; `fit` converts a batch at a time and copies nothing whole. `fastbp.Scaled` scales them as well. Of a
            sparse matrix the stored numbers are read, see `Sequential.predict`. A data frame (of pandas; of polars,
            Arrow and others by narwhals, extra ``data``) has its columns in their order, and NaN for what is missing.
        y : array_like
            For softmax_cross_entropy class indices, (batch,) or (batch, 1), whole numbers of any type, or probabilities
            (batch, classes); else numbers (batch, outputs), or (batch,) if there is one output.
        sample_weight : array_like of shape (batch,), optional
            How much each row counts; the mean becomes the weighted mean.

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; nothing is changed then.
        RuntimeError
            If another thread is in this trainer.

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> trainer = fastbp.Trainer(fastbp.mlp([2, 3], rng=0), optimizer=fastbp.SGD(0.1))
        >>> round(trainer.step(np.zeros((4, 2)), [0, 1, 2, 0]), 4)
        1.0986
        """
        with self._alone:
            if not (sample_weight is None and self._as_before(x, y) and self._quick_step(x, y)):
                samples = self._inputs(x, y, sample_weight, STEP)
                targets, batch = samples.targets, len(samples.x)
                self._model._check_batch(batch, "Trainer.step")
                sparse = isinstance(samples.x, StoredRows)
                self._prepare(batch, sparse)
                tasks, began, kind = self._begin_step(batch)
                self._run(samples, Part(_ONE, batch, _NO_ORDER, self._record), tasks)
                if kind is not None:
                    kind.end(tasks, began, batch)
                given = not sparse and targets.code >= 0 and not self._loss._looks_at_targets()
                self._usual = (INT64 if targets.labels.size else self._model.dtype) if given else None
            set_unguarded(self, "_steps", self._steps + 1)
            return float(self._record[0, 0])

    def fit(
        self,
        x: ArrayLike | Readable | Iterable[Any],
        y: ArrayLike | None = None,
        *,
        epochs: int = 1,
        batch_size: int = BATCH_SIZE,
        shuffle: bool = True,
        rng: int | np.random.Generator | None = None,
        validation_data: tuple[Any, ...] | None = None,
        validation_split: float | None = None,
        metrics: Iterable[MetricLike] = (),
        sample_weight: ArrayLike | None = None,
        steps_per_epoch: int | None = None,
        callbacks: Iterable[Callback] = (),
        progress: bool | Progress | None = None,
        resume: bool = False,
    ) -> History:
        """Train for some epochs.

        Parameters
        ----------
        x, y, sample_weight
            As in `step`, for all samples. Or x alone, an iterable of batches ``(x, y)`` or ``(x, y, sample_weight)``:
            a list of them, a DataLoader of PyTorch's, a generator. Each is a step, in the order in which they come, and
            all epochs have as many. `batch_size`, `shuffle` and `validation_split` are not for them.
        epochs : int, default 1
            How often to go through the samples.
        batch_size : int, default 128
            Rows of a step; the last step of an epoch takes what is left.
        shuffle : bool, default True
            Whether each epoch takes the samples in a new order.
        rng : int or numpy.random.Generator, optional
            Seed of the orders, and of Dropout; without it they differ from run to run.
        validation_data : (x, y) or (x, y, sample_weight), optional
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
            rows, another `batch_size` or `shuffle` are refused. `rng` is not looked at, as the run has its own. The
            batches of an iterable that come before are gone through again: so it has to begin anew and to give the
            same, and a generator can only begin an epoch.

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
            On Ctrl-C, at a step's end: within some 100 ms, or as long as a single step takes. `history` has the epochs
            that ended, and ``fit(..., resume=True)`` goes on from there; so it does after an exception in a callback.

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
        shows = what_shows(progress)
        with compiling(progress):
            validation = Validation(validation_data, validation_split, metrics)
            calls, batches = VALIDATED if validation else RUN, None
            if y is None:
                other_size = None if batch_size == BATCH_SIZE else batch_size
                refuse(batch_size=other_size, sample_weight=sample_weight, validation_split=validation_split)
                batches = Batches(x, steps_per_epoch, partial(self._inputs, calls=calls))
                samples = batches.first
            elif steps_per_epoch is not None:
                raise ValueError("fit expects steps_per_epoch with an iterable of batches alone, got it with x and y")
            else:
                samples = self._inputs(x, y, sample_weight, calls)
                samples = samples._replace(targets=samples.targets.as_classes())
            if shuffle and batches is None:
                values = gathered(samples.targets.values)
                samples = samples._replace(x=gathered(samples.x), targets=samples.targets._replace(values=values))
            epochs = check.integer(epochs, "fit", "epochs")
            batch_size = check.integer(batch_size, "fit", "batch_size")
            generator = check.generator(rng, "fit")
            callbacks = checked_callbacks(callbacks, *self._figure_names(samples, validation))
            with self._alone, self._one_fit:
                run = self._run_to_resume() if resume else None
                seed = validation.draw(generator) if run is None else run.split_seed
                chosen = validation.hold_out(samples, self._loss, self._model.out_features, seed)
                rows = len(chosen) if chosen.size else len(samples.x)
                batch_size = min(batch_size, rows)
                if batches is None:
                    self._check_batches(rows, batch_size)
                else:
                    self._model._check_batch(rows, "fit")
                self._prepare(batch_size, isinstance(samples.x, StoredRows))
                if batches is not None:
                    rows, batch_size, shuffle = batches.begin(run), 1, False
                    if self._varying is not None and self.total_steps is None:
                        batches.expect_length()
                if run is None:
                    self._draw_seed(generator)
                    run = RunState(rows, batch_size, bool(shuffle), generator, validation.split, seed)
                run.check(rows, batch_size, bool(shuffle), validation.split)
                run.chosen = chosen
                listeners = Listeners(self, callbacks, run)
                self._begin_run(run)
                try:
                    self._run_steps = epochs * run.steps if batches is None or batches.steps else 0
                    listeners.begin()
                    self._listeners = listeners
                    self._go_on(batches or samples, run, listeners, epochs, validation, shows)
                    listeners.end()
                finally:
                    self._end_run()
                return History(run.history)

    def _check_batches(self, rows: int, batch_size: int) -> None:
        """Raise ValueError if a batch of an epoch has too few rows for a layer that couples them."""
        last = rows % batch_size or batch_size
        if last >= self._fewest_rows:
            return
        fits = next((size for size in range(batch_size - 1, 1, -1) if rows % size != 1), None)
        hint = "" if fits is None else f": choose another batch_size, such as {fits}, or leave a row out"
        names = ", ".join(self._model._coupling)
        raise ValueError(
            f"fit expects batches of at least 2 rows for {names}, and {rows} rows in batches of {batch_size} end with "
            f"one of {last}{hint}"
        )

    def _figure_names(self, samples: Samples, validation: Validation) -> tuple[list[str], bool]:
        """Return the names of what a run records of each epoch, and whether there may be more on other rows."""
        loss, outputs = self._loss, self._model.out_features
        names = ["loss", *(one.name for one in chosen_metrics((), loss, samples, outputs, "fit"))]
        names += ["lr"] if isinstance(self._optimizer.lr, Schedule) else []
        names += validation.names(samples, self._inputs, loss, outputs)
        own = type(self).evaluate is Trainer.evaluate  # what that of a subclass adds is known after an epoch
        if not own:
            validation.check(self.evaluate)
        return names, not own

    def _go_on(
        self,
        given: Samples | Batches,
        run: RunState,
        listeners: Listeners,
        epochs: int,
        validation: Validation,
        progress: Progress,
    ) -> None:
        """Go on with a run from where it is to the end of its last epoch."""
        rows = run.steps * len(given.first.x) if isinstance(given, Batches) else run.rows
        with progress.fit(epochs, rows, self._step_work, run.history.epochs + run.done / run.steps):
            # Of an epoch or of a multiple of `every` whose end some callbacks were not told of before an interruption
            listeners.tell_of_steps(run.done, call=False)
            while True:
                listeners.tell_of_epoch()
                if run.stopped or run.history.epochs >= epochs:
                    break
                if isinstance(given, Batches):
                    figures = make_epoch_of_batches(self, given, run, listeners, progress)
                else:
                    figures = make_epoch(self, given, run, listeners, progress)
                figures |= validation.figures(self.evaluate)
                self._end_epoch(figures)
                progress.epoch(run.history.epochs, figures)

    @with_lists(metrics=metric_names())
    def evaluate(
        self,
        x: ArrayLike | Readable,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        metrics: Iterable[MetricLike] = (),
    ) -> dict[str, float]:
        """Return the loss over all rows, for class labels and one-hot rows the accuracy, and metrics.

        Parameters
        ----------
        x, y
            As in `step`.
        sample_weight : array_like of shape (samples,), optional
            How much each row counts: the means become weighted means. Class weights of the loss count in it as in
            training, and in nothing else.
        metrics : iterable of str or callable, default ()
            Names: {metrics}.
            They mean what they mean in scikit-learn, and of several columns their mean. "f1", "precision" and "recall"
            take two classes, or a single logit; "auc" is the second's of two classes, and of more the mean of each
            against the rest. k says how many of the largest outputs may be the class, q is a quantile, 0.5 without it.
            Whether outputs are classes, labels of yes or no, or numbers is known of the loss, and with one of your own
            the metric says it.
            Or functions ``(targets, outputs) -> number``: targets are the class labels (rows,), else the numbers (rows,
            columns); outputs are what `Sequential.predict` returns, logits where there are classes. A function is named
            by its ``__name__``, and is given weights if it has a parameter `sample_weight`.

        Returns
        -------
        dict
            ``{"loss": ..., "accuracy": ..., "f1": ...}``; rows with the ignored label count for none. Where no row
            counts, NaN; so is an area under the curve where all rows are of one class.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or there is no such metric of these outputs and targets.
        """
        samples = self._inputs(x, y, sample_weight)
        return figures_of(self._evaluated_model(), self.loss, samples, y, metrics, "evaluate")

    def averaged_model(self) -> Sequential:
        """Return a copy of the model with the averages of its parameters; what is no parameter is as it is now.

        Returns
        -------
        Sequential
            Before the first step, with the parameters themselves.

        Raises
        ------
        ValueError
            If the trainer was made without ``ema``.

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> model = fastbp.mlp([2, 1], bias=False, rng=0)
        >>> trainer = fastbp.Trainer(model, "mse", fastbp.SGD(0.1), ema=0.75)
        >>> weights = []
        >>> for _ in range(2):
        ...     loss = trainer.step(np.eye(2), [1.0, 2.0])
        ...     weights.append(model[0].weight.copy())
        >>> average = 0.75 * weights[0] + 0.25 * weights[1]
        >>> bool(np.allclose(trainer.averaged_model()[0].weight, average))
        True
        """
        if self.ema is None:
            raise ValueError("averaged_model expects a Trainer with averages: give it ema, such as 0.999")
        with self._alone:
            model = copy.deepcopy(self._model)
            model._params[...] = evaluated(self._model, self._averages)
        return model

    def _evaluated_model(self) -> Sequential:
        return self.model if self._averages is None else self.averaged_model()

    def __repr__(self) -> str:
        sizes = "-".join(str(n) for n in (self.model.in_features, *(layer.out_features for layer in self.model)))
        return f"Trainer({sizes}, {type(self.loss).__name__}, {self.optimizer!r}, {self.steps} steps)"
