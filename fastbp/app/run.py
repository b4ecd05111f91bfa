"""A training run of the command line: data, features, network, training, figures. Nothing is printed here."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import schedules
from fastbp.app.folder import Table, changed, difference, reason
from fastbp.app.options import READING, TABLE_OPTIONS, WATCHED, Options
from fastbp.app.pipeline import Pipeline, class_weights, loss_of, open_data
from fastbp.app.source import Source
from fastbp.app.streamed import StreamedData
from fastbp.data.split import Answered
from fastbp.tables.recipes.fitting import Watched, fit, limits_of, some_rows
from fastbp.tables.recipes.recipe import Layout
from fastbp.train.callbacks import Checkpoint
from fastbp.train.not_finite import NotFiniteError
from fastbp.train.progress import Progress
from fastbp.train.rows import check_last_batch
from fastbp.train.trainer import Trainer
from fastbp.train.view import TrainerView

CHECKPOINT_SECONDS = 30
UNBALANCED = 2


class Saves(Checkpoint):
    """Saves as the run begins, every CHECKPOINT_SECONDS, and at its end; a failure to write is told, and ends no run.

    Parameters
    ----------
    path : Path
    tell : callable
        Called with a sentence when a checkpoint cannot be written, once for each reason.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        super().__init__(path, every_seconds=CHECKPOINT_SECONDS)
        self.tell = tell
        self.failure: str | None = None  # why the last one was not written
        self.ended = False

    def on_fit_begin(self, trainer: TrainerView) -> None:
        """Save, so that the folder says which run it holds, and a full disk is known of at once."""
        super().on_fit_begin(trainer)
        self.save(trainer)

    def on_fit_end(self, trainer: TrainerView) -> None:
        """Save the last one."""
        super().on_fit_end(trainer)
        self.ended = True

    def save(self, trainer: TrainerView) -> bool:
        """Save a checkpoint, if that can be done."""
        try:
            saved = super().save(trainer)
        except (OSError, MemoryError) as error:
            self._saved = time.monotonic()  # try again as late as after one that was written
            before, self.failure = self.failure, reason(error)
            if self.failure != before:
                self.tell(f"{os.fspath(self.path)} cannot be written ({self.failure}); training goes on.")
            return False
        if saved:
            self.failure = None
        return saved


@dataclass(frozen=True, eq=False)
class Result:
    """A run at its end, or one that was interrupted."""

    pipeline: Pipeline
    trainer: Trainer
    parts: dict[str, Any]  # of Answered or TableBlocks
    best_epoch: int | None
    interrupted: KeyboardInterrupt | None
    diverged: str | None  # why there is no model to write
    unsaved: str | None  # why the last checkpoint was not written

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return the figures on the training, validation and test rows, all with the final parameters."""
        return {name: self.pipeline.evaluate(rows) for name, rows in self.parts.items()}

    def rarest(self) -> tuple[str, float, dict[str, float]] | None:
        """Return the class with the fewest training rows, its part of them, and its recall of the rows of each part.

        None if it has at least 1 / UNBALANCED of what it would have if all had as many.
        """
        classes = self.pipeline.classes
        counts = self.parts["train"].counts(len(classes)) if classes else np.ones(1)
        code = int(counts.argmin())
        if counts[code] * len(counts) * UNBALANCED >= counts.sum():
            return None
        recalls = {name: self.pipeline.recall(rows, code) for name, rows in self.parts.items()}
        return classes[code], counts[code] / counts.sum(), recalls

    def save_model(self, path: Path) -> None:
        """Write the model, without what only a run that goes on needs."""
        model = self.pipeline.model
        model.metadata = {name: value for name, value in model.metadata.items() if name != "source"}
        model.save(path)


class Run:
    """A run that is ready to begin: the data is read and split, the network made; or to go on, as `resumed` makes it.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As `load_dataset`, and if options do not suit the data, or are not those of the run to go on with.
    """

    def __init__(
        self, source: str, options: Options, *, task: str | None = None, trainer: Trainer | None = None
    ) -> None:
        # A run that goes on is read as it was, whatever memory there is now.
        stream = options.stream if trainer is None else bool(options.stream)
        self.data = data = open_data(Source(source, options.reading, stream), options, task)
        self.options = resolved = options.resolve(data) | ({"stream": True} if isinstance(data, StreamedData) else {})
        files = {"path": source} | ({"test": options.test} if options.test else {})
        if options.test:
            resolved["test"] = Path(options.test).name  # where it is, a model's file need not say
        known: Table = {
            "task": data.task,
            "classes": list(data.classes),
            "feature_names": [],
            "target": list(options.target) or None,
            "scaler": None,
            "target_scaler": None,
            "options": resolved,
            "seed": options.seed,
        }
        self.recipe = recipe = options.recipe(data.task)
        features = data.fit(recipe.encoding, resolved, known)
        self.parts: dict[str, Any]
        self.parts = parts = data.ready(features)  # type: ignore[arg-type]  # its own kind
        test_rows, train_rows = data.digests(parts)  # type: ignore[arg-type]
        known |= {
            "data": {"name": data.name, "test_rows": test_rows},
            "reading": data.reading.given(),
            # Of a checkpoint alone: where to find the data again, and whether it is the same.
            "source": {name: file if file in ("digits", "-") else os.path.abspath(file) for name, file in files.items()}
            | {"train_rows": train_rows},
        }
        self.went_on = None if trainer is None else self._go_on(trainer, known)
        train = self.parts["train"]
        target_scaler = None if data.classes else train.scaler
        limits = limits_of(train) if recipe.clamps and not data.classes else None
        if trainer is None:
            known |= features.to_dict() | {"target_scaler": target_scaler and target_scaler.to_dict()}
            known |= {} if limits is None else {"target_limits": limits.to_dict()}
            known |= {"class_weight": class_weights(train.counts(len(data.classes)))} if options.class_weight else {}
            width = len(data.classes) or len(target_scaler.shift)  # type: ignore[union-attr]  # of quantities
            model = recipe.make_network(features.layout, width, options.dtype, options.seed)
            recipe.begin(model, some_rows(train), options.seed)
            model.metadata = known
            trainer = recipe.make_trainer(model, loss_of(known))
        if not recipe.drop_last:
            check_last_batch(trainer.model, train.rows, min(recipe.batch_size, train.rows))
        self.trainer = trainer
        self.pipeline = Pipeline(trainer.model, features, target_scaler, limits)
        rows = self.parts.get("validation", train)
        if isinstance(rows, Answered):
            z = np.zeros((len(rows.y), trainer.model._outputs), trainer.model.dtype)
            self.pipeline.metrics(z, rows.y, rows.weight)  # checks them

    @classmethod
    def resumed(cls, checkpoint: Path, typed: Mapping[str, Any]) -> "Run":
        """Make the run of a checkpoint; what is typed again has to be as it was, but for the number of epochs."""
        trainer = Trainer.load_checkpoint(checkpoint)
        meta = trainer.model.metadata
        try:
            options: Table = {
                name: tuple(value) if type(value) is list else value for name, value in meta["options"].items()
            }
            before = Options(**options)
            path, task = meta["source"]["path"], meta["task"]
            # Of a table what was asked for: else that would be the reason that is told.
            asked = meta["table"]["task"] if "table" in meta else task
            _ = meta["source"]["train_rows"], meta["data"]["name"], meta["data"]["test_rows"]
        except (KeyError, TypeError):
            raise ValueError(f"{checkpoint} is a checkpoint of no run that `fastbp train` began") from None
        if meta["feature_names"] and "table" not in meta:
            raise ValueError(
                f"{checkpoint} is of an older fastbp, which made other features of a table: --force begins anew"
            )
        if typed.get("task", task) != task:
            raise changed("--task", task, typed["task"])
        for name in (*READING, *TABLE_OPTIONS):  # before data is read that does not suit them
            was = getattr(before, name)
            if typed.get(name, was) != was:
                raise changed(f"--{name}", None if was == () else was, typed[name])
        own = {field.name: typed[field.name] for field in fields(Options) if field.name in typed}
        own.setdefault("test", meta["source"].get("test", before.test))
        return cls(typed.get("data", path), replace(before, **own), task=asked, trainer=trainer)

    def _go_on(self, trainer: Trainer, known: Table) -> str:
        """Check that a trainer is of the run that is known; give it as many epochs as that has, and say so."""
        meta, done = trainer.model.metadata, trainer.history.epochs
        was, epochs = meta["options"]["epochs"], known["options"]["epochs"]
        if found := difference(meta | {"options": meta["options"] | {"epochs": epochs}, "continued": []}, known):
            raise changed(*found)
        stopped = trainer._last_run is not None and trainer._last_run.stopped
        if epochs == was:
            left = "nothing is left to train" if stopped or done == was else "goes on"
            return f"{done} of {was} epochs are done: {left}."
        if stopped:
            raise ValueError(f"this run stopped early, after {done} of {was} epochs: it takes no other --epochs")
        if epochs <= done:
            raise ValueError(f"--resume expects --epochs of more than the {done} that are done, got {epochs}")
        meta["options"]["epochs"] = epochs
        meta["continued"] = [*meta.get("continued", []), [done, was]]
        rate = self.recipe.rate(done)
        if isinstance(rate, schedules.Schedule):
            how = f"goes along {rate} of all of them"
        else:
            how = f"stays {rate:g}" if self.options["schedule"] == "constant" else f"falls from {rate:g} to 0"
        return f"{done} of {was} epochs are done: goes on to {epochs}, and the learning rate {how} until then."

    def compile(self) -> None:
        """Compile, or take from the cache, what the run calls: by a smallest network like its own."""
        small = replace(self.recipe, hidden=(1,) * len(self.recipe.hidden))
        layout, model = self.pipeline.features.layout, self.trainer.model
        codes, outputs = (1,) * bool(layout.cardinalities), model._outputs  # the loss may have a weight for each
        twin = small.make_network(Layout(1 + len(codes), min(1, layout.numbers), codes), outputs, model.dtype, 0)
        trainer = small.make_trainer(twin, self.trainer.loss)
        x, y = np.zeros((2, 1 + len(codes))), [0, 0] if self.data.classes else np.zeros((2, outputs))
        weight = None if self.parts["train"].weight is None else np.ones(2)
        trainer.fit(x, y, sample_weight=weight, validation_data=(x, y, weight), progress=Progress())

    def _watched(self) -> Watched | None:
        """Return by what the best epoch is known, whose parameters come back; None if those of the last stay."""
        asked, held_out = self.options.get("monitor"), self.parts.get("validation")
        if asked or (self.options["patience"] and not self.recipe.keeps_best):
            return Watched(asked or WATCHED)
        if held_out is None or not self.recipe.keeps_best:
            return None
        limits, scaler = self.pipeline.limits, self.pipeline.target_scaler
        # metrics of blocks there are none
        limits = limits.scaled(scaler) if limits and scaler and isinstance(held_out, Answered) else None
        return Watched.of(len(self.data.classes), limits, averaged=self.trainer.model.members > 1)

    def train(self, progress: Progress, checkpoint: Path, tell: Callable[[str], None]) -> Result:
        """Train, or go on; Ctrl-C or SIGTERM ends it at a step's end; what is done is kept, in the checkpoint too.

        So does any other exception, which is raised then. `tell` is called with what goes wrong and ends nothing.
        """
        pipeline, trainer = self.pipeline, self.trainer
        ready = {name: pipeline.ready(rows) for name, rows in self.parts.items() if name != "test"}
        saves, watched = Saves(checkpoint, tell), self._watched()
        stopping = None if watched is None else watched.callback(self.recipe)
        interrupted = diverged = None
        try:
            fit(
                trainer,
                self.recipe,
                ready["train"],
                ready.get("validation"),
                self.options["seed"],
                metrics=[*self.options.get("metric", ()), *(watched.metrics if watched else ())],
                # Saved at its end before the best parameters come back: a run goes on from the last ones.
                callbacks=[saves, *([stopping] if stopping else [])],
                progress=progress,
                resume=True,
            )
        except KeyboardInterrupt as interruption:
            interrupted = interruption
            if not saves.ended:  # else the best parameters may be back
                saves.save(trainer)
            if stopping:
                stopping.on_fit_end(trainer)
        except NotFiniteError as error:
            diverged = str(error)
        except BaseException:
            if not saves.ended:
                saves.save(trainer)
            raise
        if not diverged and not np.isfinite(pipeline.model._params).all():
            diverged = f"parameters are infinite after epoch {trainer.history.epochs}"
        if trainer.ema is not None:
            pipeline = replace(pipeline, model=trainer.averaged_model())
        best_epoch = stopping.best_epoch if stopping else None
        return Result(pipeline, trainer, self.parts, best_epoch, interrupted, diverged, saves.failure)
