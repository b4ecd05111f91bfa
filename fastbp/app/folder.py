"""The folder of a training run: which run it holds, and its results, each written on its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastbp._base.files import check_target, remove, rename
from fastbp.nn.saving import load
from fastbp.train.trainer import Trainer

MODEL, HISTORY, PICTURE = "model.safetensors", "history.csv", "learning_curve.png"
# The last checkpoint of a run; it gets its second name when all results are written.
CHECKPOINT, FINISHED = "checkpoint.safetensors", "finished.safetensors"

Table = dict[str, Any]


class RunFolder:
    """The folder of a run: its results, and the checkpoint that it goes on from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / CHECKPOINT
        self.written: list[str] = []
        self.unwritten: list[str] = []  # each with the reason

    def goes_on(self) -> bool:
        """Whether there is a run to go on with."""
        return any((self.path / name).exists() for name in (CHECKPOINT, FINISHED))

    def last_checkpoint(self) -> Path:
        """Return the file that a run goes on from; ValueError if there is none."""
        for name in (CHECKPOINT, FINISHED):
            if (self.path / name).exists():
                return self.path / name
        raise ValueError(f"--resume expects a folder that holds a run, and {self.path} holds none")

    def check_targets(self) -> None:
        """Raise the OSError that writing a result would, as far as that can be known."""
        for name in (MODEL, HISTORY, PICTURE, CHECKPOINT, FINISHED):
            check_target(self.path / name)

    def check_free(self, now: Table) -> None:
        """Raise ValueError if a run with this metadata would overwrite another one, or one that is not at its end.

        A checkpoint from before the first step does not count: nothing would be lost.
        """
        for name in (CHECKPOINT, FINISHED, MODEL):
            path = self.path / name
            if not path.exists():
                continue
            try:
                trainer = None if name == MODEL else Trainer.load_checkpoint(path)
                if trainer is not None and not trainer.steps:
                    continue
                before = (load(path) if trainer is None else trainer.model).metadata
                found = difference(before, now)
            except (AttributeError, KeyError, TypeError):
                raise ValueError(f"{path} is of no run of `fastbp train`: --force replaces it") from None
            except ValueError as error:
                raise ValueError(f"{error}: --force replaces it") from None
            if found:
                option, was, here = found
                resume = "" if trainer is None else "--resume goes on with that one, "
                raise ValueError(
                    f"{self.path} holds another run ({option} {shown(was)}, here {shown(here)}): {resume}--force "
                    "replaces it"
                )
            if name == CHECKPOINT and trainer is not None:
                done = f"{trainer.history.epochs} of {before['options']['epochs']} epochs"
                raise ValueError(
                    f"{self.path} holds this run, unfinished ({done}): --resume goes on with it, --force begins anew"
                )

    def clear(self, force: bool) -> None:
        """Remove the checkpoints that a new run could be mistaken for."""
        for name in (CHECKPOINT, FINISHED) if force else (CHECKPOINT,):
            remove(self.path / name)

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file, or note why it cannot be written."""
        try:
            write(self.path / name)
            self.written.append(name)
        except (OSError, MemoryError) as error:
            self.unwritten.append(f"{self.path / name} ({reason(error)})")

    def finish(self) -> None:
        """Mark the run as one whose results are all there."""
        rename(self.checkpoint, self.path / FINISHED)


def reason(error: Exception) -> str:
    """Say why a file was not written."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or "not enough memory"


def difference(before: Table, now: Table) -> tuple[str, Any, Any] | None:
    """Return the first option, or DATA, in which two runs differ, and its value in each; None where they do not.

    before, now : the metadata of their models
    """
    was, name = before["data"]["name"], now["data"]["name"]
    same_rows = before["data"]["test_rows"] == now["data"]["test_rows"] and (
        "source" not in before or before["source"]["train_rows"] == now["source"]["train_rows"]
    )
    other_name = Path(was).name != Path(name).name
    options = before["options"]
    lengths = [total for _, total in before.get("continued", [])]
    found = [
        ("DATA", was, name if other_name and not same_rows else was),
        ("--target", options.get("target"), now["options"].get("target")),
        ("--task", before["task"], now["task"]),
        *(
            (f"--{key.replace('_', '-')}", options.get(key), now["options"].get(key))
            for key in {**now["options"], **options}
            if key != "epochs"
        ),
        ("DATA", was, was if same_rows else f"{name}, whose rows differ"),
        ("--epochs", [*lengths, options.get("epochs")], [now["options"]["epochs"]]),
    ]
    return next(((key, a, b) for key, a, b in found if a != (list(b) if isinstance(b, tuple) else b)), None)


def changed(option: str, was: Any, now: Any) -> ValueError:
    """Return the error for an option that is not that of the run to go on with."""
    return ValueError(f"--resume expects {option} {shown(was)} as the run has it, got {shown(now)}")


def shown(value: Any) -> str:
    """Return an option's value as it is typed."""
    if value is None:
        return "(not given)"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
