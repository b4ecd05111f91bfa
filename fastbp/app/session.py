"""What `fastbp train` does in its folder: it trains, writes the results, and says how that went."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from fastbp._base.console import visible
from fastbp._base.files import write_atomically
from fastbp._base.interrupts import Terminated, termination_interrupts
from fastbp._base.lock import alone_in
from fastbp._base.program import INTERRUPTED
from fastbp.app import report
from fastbp.app.errors import FAILED, TERMINATED, fail
from fastbp.app.folder import HISTORY, MODEL, PICTURE, RunFolder
from fastbp.app.plot import learning_curve
from fastbp.app.run import Result, Run


def train_in(folder: RunFolder, make: Callable[[], Run], *, resume: bool, force: bool) -> int:
    """Train in a folder; return the exit code.

    Parameters
    ----------
    folder : RunFolder
    make : callable
        Returns the run: a new one, or with `resume` the one that the folder holds. Called once the folder is locked.
    resume : bool
        Whether the folder's run goes on; its checkpoints stay then.
    force : bool
        Whether a new run may replace another one that is not at its end.
    """
    console = report.make_console()
    with alone_in(folder.path) as locked:
        folder.check_targets()
        run = make()
        if not (resume or force):
            folder.check_free(run.pipeline.model.metadata)
        if not locked:
            report.say(console, f"The file system of {folder.path} has no locks: let no other run write there.")
        console.print(report.pairs(report.describe(run)))
        if run.went_on:
            report.say(console, run.went_on)
        with report.CompileWatch(console).watch():
            run.compile()
        if not resume:
            folder.clear(force)
        with termination_interrupts():
            try:
                return _train(run, folder, console)
            except KeyboardInterrupt as stop:  # before the first step, or while the results are written
                return _stopped(stop, folder)


def _train(run: Run, folder: RunFolder, console: Console) -> int:
    """Train, write the results, say how it went; return the exit code."""
    progress = report.RunProgress(console)
    result = run.train(progress, folder.checkpoint, partial(report.say, console))
    history = result.trainer.history
    if result.unsaved:
        folder.unwritten.append(f"{folder.checkpoint} ({result.unsaved})")
    if result.diverged:
        folder.write(HISTORY, history.to_csv)
        where = f"{folder.path / HISTORY} is written, a model is not"
        if (folder.path / MODEL).exists():
            where += ": the one there is of an earlier run"
        return fail(f"{result.diverged}; {where}", FAILED)
    if history.epochs:
        _write_results(run, result, folder, progress)
    if result.interrupted or folder.unwritten:
        return _stopped(result.interrupted, folder, "what was done is written" if history.epochs else "")
    return 0


def _write_results(run: Run, result: Result, folder: RunFolder, progress: report.RunProgress) -> None:
    """Write each result on its own, and only then print: a closed or full output loses none."""
    folder.write(MODEL, result.save_model)
    folder.write(HISTORY, result.trainer.history.to_csv)
    figures = result.evaluate()
    missing = ""
    try:
        picture = _draw(run, result, figures["test"])
        folder.write(PICTURE, lambda path: write_atomically(path, picture))
    except ImportError as error:
        missing = str(error)
    if not (result.interrupted or folder.unwritten):
        folder.finish()
    console = progress.console
    hint = report.rare_class(result, figures)
    console.print(report.pairs(report.describe_result(result, progress)))
    console.print(report.figures(figures))
    if hint:
        report.say(console, hint)
    if missing:
        report.say(console, missing)
    if folder.written:
        report.say(console, f"{folder.path}/: {', '.join(folder.written)}")


def _stopped(stop: KeyboardInterrupt | None, folder: RunFolder, written: str = "") -> int:
    """Say why not all of a run is there, and whether it can go on; return the exit code."""
    why = "" if stop is None else "terminated" if isinstance(stop, Terminated) else "interrupted"
    if folder.unwritten:
        written = f"could not write {', '.join(folder.unwritten)}"
    goes_on = ", --resume goes on" if folder.goes_on() else ""
    code = FAILED if folder.unwritten else TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    return fail("; ".join(filter(None, (why, written))) + goes_on, code)


def _draw(run: Run, result: Result, test: dict[str, float]) -> bytes:
    about = report.describe(run)
    name = visible(Path(run.data.name).name)
    if "accuracy" in test:
        title = f"{name}: {test['accuracy']:.1%} of the test rows right".replace("%", " %")
    else:
        title = f"{name}: R² {test['r2']:.3f} on the test rows"
    subtitle = f"{about['network']}, {about['optimizer']}"
    return learning_curve(result.trainer.history, title, subtitle, test, result.best_epoch)
