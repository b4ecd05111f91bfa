"""The history in `benchmarks/results`: `make keep` measures a commit and adds it, `age` tells whether it is old."""

import json
import shutil
import sys
from typing import Annotated

import typer
from _alone import alone
from _asv import KEPT, OWN, ROOT, files, git, know_machine, refuse, resolve, values
from _kernels import measure, of_commit
from asv import util

MOST = 60  # commits of the first parents' line that HEAD may be ahead of the newest that is kept
app = typer.Typer(add_completion=False)


@app.command()
def keep(
    machine: Annotated[str, typer.Argument(help="A name for this machine, such as zen4-2-cores.")],
    commits: Annotated[list[str], typer.Argument(help="What to add to its history.")],
) -> None:
    """Measure those that were not measured here under this name, and copy their results to benchmarks/results."""
    hashes = [resolve(commit) for commit in commits]
    measurements = OWN / "results"
    with alone():
        know_machine(machine)
        measure(hashes, OWN / "dashboard", "--machine", machine, "--skip-existing-successful")
        for commit in hashes:
            found = values(measurements, commit, of_commit(commit), machine)
            if failed := [str(row) for row, value in found.items() if value is None]:
                refuse(f"{commit[:8]} is not kept, because rows failed: {', '.join(failed)}")
        copy(measurements, machine, hashes, KEPT)
    print(f"benchmarks/results/{machine} has {len(list((KEPT / machine).glob('*-*.json')))} commits")


def copy(measurements, machine, hashes, kept):
    """Copy what was measured at some commits, and what it was measured with, to the history that is kept.

    Each result repeats what is said of its machine, and those that say it otherwise would be another line: so all
    have the words of the first, which may have been put better in its file.
    """
    (kept / machine).mkdir(parents=True, exist_ok=True)
    shutil.copy(measurements / "benchmarks.json", kept)
    about = kept / machine / "machine.json"
    if not about.exists():
        shutil.copy(measurements / machine / "machine.json", about)
    words = {name: word for name, word in util.load_json(str(about)).items() if name != "version"}
    for commit in hashes:
        for path in files(measurements, commit, of_commit(commit), machine):
            result = util.load_json(str(path))
            result["params"] |= words
            util.write_json(str(kept / machine / path.name), result, compact=True)


def behind(repository, commits):
    """Return how many commits HEAD is ahead of the nearest of these, along first parents; None where git cannot say."""
    if git("rev-parse", "--is-shallow-repository", folder=repository) != "false":
        return None
    counts = [git("rev-list", "--first-parent", "--count", f"{commit}..HEAD", folder=repository) for commit in commits]
    return min((int(count) for count in counts if count), default=None)


@app.command()
def age() -> None:
    """Warn where what is kept ends long before HEAD, so that what became slower lately cannot be seen in it."""
    kept = {json.loads(path.read_text())["commit_hash"] for path in KEPT.glob("*/*-*.json")}
    commits = behind(ROOT, kept)
    if commits is not None and commits > MOST:
        print(
            f"warning: benchmarks/results ends {commits} commits before HEAD, more than {MOST}: make keep adds one",
            file=sys.stderr,
        )


if __name__ == "__main__":
    app()
