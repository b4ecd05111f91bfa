"""Callbacks that look for the best of a figure, and figures that callbacks add: straight, stopped, killed, resumed."""

import os
import signal
import warnings

import numpy as np
import pytest

import fastbp
from fastbp.train.monitors import Monitor

X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 60)
ASKED = {"epochs": 8, "batch_size": 7, "rng": 2, "validation_split": 0.3, "metrics": ["f1_macro"], "progress": False}


def make():
    return fastbp.Trainer(fastbp.mlp([4, 8, 3], "tanh", rng=0), optimizer=fastbp.Adam(0.05))


class Adds(fastbp.Callback):
    """Adds a figure whose values are given, and one more from its third epoch on."""

    adds = ("given",)

    def __init__(self, *values):
        self.values = values

    def on_epoch_end(self, trainer, epoch, figures):
        figures["given"] = self.values[epoch - 1]
        figures["loss"] = -1.0  # stays as it was recorded
        if epoch >= 3:
            figures["late"] = np.int64(epoch)


class At(fastbp.Callback):
    """Does something at a step."""

    every = 1

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_steps_end(self, trainer):
        if trainer.steps == self.step:
            self.action()


def stop():
    raise InterruptedError


def interrupt():
    signal.raise_signal(signal.SIGINT)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def killed(run):
    """Run something in a child that does not survive it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads
        child = os.fork()
    if not child:
        try:
            run()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_figures_that_callbacks_add_are_kept_and_seen_by_those_behind():
    seen = []
    look = fastbp.LambdaCallback(on_epoch_end=lambda trainer, epoch, figures: seen.append(dict(figures)))
    trainer = make()
    plain = make().fit(X, Y, **ASKED)
    history = trainer.fit(X, Y, callbacks=[Adds(*range(8)), look], **ASKED)
    assert list(history) == [*plain, "given", "late"]
    assert {name: history[name] for name in plain} == plain
    assert history["given"] == list(range(8))
    assert np.isnan(history["late"][:2]).all()
    assert history["late"][2:] == [3, 4, 5, 6, 7, 8]
    assert [one["given"] for one in seen] == list(range(8))
    assert repr(dict(trainer.history)) == repr(dict(history))

    class Wrong(fastbp.Callback):
        def on_epoch_end(self, trainer, epoch, figures):
            figures["name"] = "value"

    with pytest.raises(TypeError, match="Wrong should add figures that are numbers by name, got 'name': 'value'"):
        make().fit(X, Y, callbacks=[Wrong()], **ASKED)


@pytest.mark.parametrize(("mode", "best"), [("max", 3), ("min", 1)])
def test_early_stopping_takes_the_best_of_any_figure(mode, best):
    early, states = fastbp.EarlyStopping("given", patience=3, mode=mode), []
    save = fastbp.LambdaCallback(on_epoch_end=lambda trainer, *_: states.append(trainer.model._params.copy()))
    trainer = make()
    history = trainer.fit(X, Y, callbacks=[Adds(1, 2, 5, 4, 5, 3, 9, 9), save, early], **ASKED)
    assert history.epochs == best + 3
    assert (early.best, early.best_epoch) == (history["given"][best - 1], best)
    np.testing.assert_array_equal(trainer.model._params, states[best - 1])


def test_the_library_knows_what_is_better_of_its_own_figures_alone():
    def mine(targets, outputs):
        return 0.0

    for figure, larger in (
        ("val_f1_macro", True),
        ("val_log_loss", False),
        ("val_accuracy", True),
        ("val_loss", False),
    ):
        early = fastbp.EarlyStopping(figure, patience=1)
        asked = ASKED | {"metrics": ["f1_macro", "log_loss"]}
        history = make().fit(X, Y, callbacks=[early], **asked)
        assert early.best == (max if larger else min)(history[figure])
    for figure in ("val_mine", "given"):
        for kind in (fastbp.EarlyStopping, lambda name: fastbp.ModelCheckpoint("m", name, save_best_only=True)):
            trainer = make()
            with pytest.raises(ValueError, match=f"expects mode 'min' or 'max' for {figure}: what is better is not kn"):
                trainer.fit(X, Y, callbacks=[Adds(), kind(figure)], **ASKED | {"metrics": [mine]})
            assert trainer.steps == 0
    with pytest.raises(KeyError, match="EarlyStopping expects the figure 'given'"):  # it comes after
        make().fit(X, Y, callbacks=[fastbp.EarlyStopping("given", mode="max"), Adds()], **ASKED)
    with pytest.raises(ValueError, match="EarlyStopping expects mode to be one of auto, min, max; got 'most'"):
        fastbp.EarlyStopping(mode="most")


def test_nan_is_no_best_value_and_the_first_number_after_it_is():
    early = Monitor("given", "max")
    for epoch, (value, better) in enumerate(
        [(np.nan, True), (np.nan, False), (-3, True), (np.nan, False), (-2, True)], 1
    ):
        assert early._is_better({"given": value}) == better
        if better:
            early._note(epoch, {"given": value})
    assert (early.best, early.best_epoch) == (-2, 5)


def callbacks(folder):
    """Return callbacks that write into a folder; the checkpoint that a killed run goes on from is mostly older."""
    return [
        Adds(*[3, 5, 4, 6, 6, 5, 7, 2]),
        fastbp.ModelCheckpoint(folder / "best", "given", "max", save_best_only=True),
        fastbp.ModelCheckpoint(folder / "last"),
        fastbp.EarlyStopping("val_f1_macro", patience=7),
        fastbp.CSVLogger(folder / "history.csv"),
        fastbp.Checkpoint(folder / "run", every_epochs=2),
    ]


def left(folder):
    return [(folder / name).read_bytes() for name in ("best", "last", "history.csv")]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", [stop, interrupt, kill])
def test_files_are_those_of_a_straight_run_after_a_stop_at_any_step(tmp_path, how, seed):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    (broken / "history.csv").write_text("of another run\n1,2,3\n4,5,6\n")
    whole = make()
    history = whole.fit(X, Y, callbacks=callbacks(straight), **ASKED)
    steps = sorted(np.random.default_rng(seed).choice(np.arange(2, whole.steps), 2, replace=False).tolist())
    trainer = make()
    for step in steps:
        order = callbacks(broken)
        order.insert(seed, At(step, how))

        def part(trainer=trainer, order=order):
            trainer.fit(X, Y, callbacks=order, resume=True, **ASKED)

        if how is kill:
            killed(part)
            trainer = fastbp.Trainer.load_checkpoint(broken / "run") if (broken / "run").exists() else make()
        else:
            with pytest.raises((InterruptedError, KeyboardInterrupt)):
                part()
    end = callbacks(broken)
    resumed = trainer.fit(X, Y, callbacks=end, resume=True, **ASKED)
    assert repr(dict(resumed)) == repr(dict(history))
    assert left(broken) == left(straight)
    assert trainer.model._params.tobytes() == whole.model._params.tobytes()
    assert (end[1].best, end[1].best_epoch) == (7, 7)


def test_model_checkpoints_are_of_their_epochs(tmp_path):
    states, trainer = [], make()
    save = fastbp.LambdaCallback(on_epoch_end=lambda trainer, *_: states.append(trainer.model._params.copy()))
    trainer.fit(X, Y, callbacks=[*callbacks(tmp_path)[:3], save], **ASKED)
    np.testing.assert_array_equal(fastbp.load(tmp_path / "best")._params, states[6])
    np.testing.assert_array_equal(fastbp.load(tmp_path / "last")._params, states[7])
    with pytest.raises(FileNotFoundError):
        trainer.fit(X, Y, callbacks=[fastbp.ModelCheckpoint(tmp_path / "none" / "m")], **ASKED)
    before = (tmp_path / "last").read_bytes()
    trainer.model.parameters()["0.bias"][0] = np.inf
    fastbp.ModelCheckpoint(tmp_path / "last").on_epoch_end(trainer, 1, {})
    assert (tmp_path / "last").read_bytes() == before


def test_a_csv_file_has_a_line_an_epoch_of_its_run(tmp_path):
    path, trainer = tmp_path / "h.csv", make()
    csv = fastbp.CSVLogger(path)
    lines = []
    count = fastbp.LambdaCallback(on_epoch_end=lambda *_: lines.append(len(path.read_text().splitlines())))
    for _ in range(2):  # the second run replaces the first
        trainer.fit(X, Y, callbacks=[Adds(*range(8)), csv, count], **ASKED).to_csv(tmp_path / "own.csv")
        assert path.read_bytes() == (tmp_path / "own.csv").read_bytes()
    assert lines == [*range(2, 10)] * 2
    with pytest.raises(InterruptedError):
        trainer.fit(X, Y, callbacks=[Adds(*range(8)), csv, At(trainer.steps + 20, stop)], **ASKED)
    path.unlink()
    trainer.fit(X, Y, callbacks=[Adds(*range(8)), csv], resume=True, **ASKED).to_csv(tmp_path / "own.csv")
    assert path.read_bytes() == (tmp_path / "own.csv").read_bytes()
    assert path.read_text().splitlines()[0] == "epoch,loss,accuracy,val_loss,val_accuracy,val_f1_macro,given,late"


class Writer:
    def __init__(self):
        self.scalars, self.flushed = [], 0

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def flush(self):
        self.flushed += 1


def test_a_writer_is_given_each_figure_of_each_epoch_once():
    writer, trainer = Writer(), make()
    board = [Adds(*range(8)), fastbp.TensorBoard(writer)]
    with pytest.raises(InterruptedError):
        trainer.fit(X, Y, callbacks=[*board, At(15, stop)], resume=True, **ASKED)
    assert writer.flushed == 0
    history = trainer.fit(X, Y, callbacks=board, resume=True, **ASKED)
    expected = [
        (name, column[epoch], epoch + 1)
        for epoch in range(8)
        for name, column in history.items()
        if not np.isnan(column[epoch])
    ]
    assert writer.scalars == expected
    assert writer.flushed == 1
    with pytest.raises(TypeError, match="TensorBoard expects a writer with a method add_scalar, got int"):
        fastbp.TensorBoard(5)


def test_functions_are_called_as_the_methods_of_their_names():
    calls = []
    names = "on_fit_begin", "on_steps_end", "on_epoch_end", "on_fit_end"

    def note(name):
        return lambda trainer, *more: calls.append((name, trainer.steps, *more[:1])) or more[:1] == (2,)

    trainer = make()
    callback = fastbp.LambdaCallback(**{name: note(name) for name in names}, every=4)
    history = trainer.fit(X, Y, callbacks=[callback], **ASKED)
    steps = trainer.steps // 2
    assert history.epochs == 2
    assert [call for call in calls if call[0] != "on_steps_end"] == [
        ("on_fit_begin", 0), ("on_epoch_end", steps, 1), ("on_epoch_end", 2 * steps, 2), ("on_fit_end", 2 * steps)
    ]  # fmt: skip
    assert [call[1] for call in calls if call[0] == "on_steps_end"] == list(range(4, 2 * steps + 1, 4))
    with pytest.raises(TypeError, match="LambdaCallback expects on_fit_end to be a function, got 5"):
        fastbp.LambdaCallback(on_fit_end=5)


def test_a_log_has_what_callbacks_behind_it_add(tmp_path):
    class Adds(fastbp.Callback):
        def on_epoch_end(self, trainer, epoch, figures):
            figures["added"] = epoch / 2

    x, y = np.eye(4), np.arange(4) % 3
    trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0))
    path, whole = tmp_path / "log.csv", tmp_path / "whole.csv"
    for resume, epochs in ((False, 2), (True, 5)):
        log = fastbp.CSVLogger(path)
        trainer.fit(x, y, epochs=epochs, rng=0, resume=resume, callbacks=[log, Adds()], progress=False)
        trainer.history.to_csv(whole)
        assert path.read_text() == whole.read_text()
