"""Starting and ending the processes that hold the libraries."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from typing import IO, Any

from fastbp.bench.cases import Case

# Each library by the name of its file, what it is called, and the package it needs.
LIBRARIES = {
    "fastbp": ("fastbp", "fastbp"),
    "torch": ("torch", "torch"),
    "torch_compile": ("torch.compile", "torch"),
    "jax": ("jax", "jax"),
    "sklearn": ("scikit-learn", "sklearn"),
    "numpy": ("numpy", "numpy"),
}
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# The path of this process, so that a worker finds the same packages.
COMMAND = "import sys; sys.path[:] = {path!r}; from fastbp.bench.worker import main; main()"


class WorkerError(Exception):
    """A library could not do what it was asked for."""


class WorkerProcess:
    """A worker as its parent sees it."""

    def __init__(self, library: str, threads: int) -> None:
        self.library, self.threads = library, threads
        self.name = f"{LIBRARIES[library][0]}, {threads} thread{'s' if threads > 1 else ''}"
        self.version, self.kinds = "", frozenset[str]()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        environment = {**os.environ, **dict.fromkeys(POOLS, str(threads)), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        with _pinned(threads):
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND.format(path=[*map(os.path.abspath, sys.path)]), library, str(threads)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment, text=True,
                start_new_session=True,  # Ctrl-C is for the parent, which ends them all, and compilers that they run
            )  # fmt: skip

    def greet(self) -> None:
        """Wait until the library is imported."""
        answer = self._answer()
        if "missing" in answer:
            raise WorkerError(f"not installed ({answer['missing']})")
        self.version, self.kinds = answer["version"], frozenset(answer["kinds"])

    def prepare(self, name: str, case: Case | None = None) -> None:
        """Make ready a limit, or a case."""
        self._ask("prepare", name=name, case=case and case.to_json())

    def turn(self, name: str, seconds: float) -> float:
        """Return the seconds of a unit of what is prepared."""
        return float(self._ask("turn", name=name, seconds=seconds)["seconds"])

    def drop(self, name: str) -> None:
        """Let it forget what is prepared."""
        self._ask("drop", name=name)

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._signal("SIGCONT")
        with contextlib.suppress(BrokenPipeError):  # the answer tells
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"died: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        # Stopped between its turns: idle threads of several libraries spin for long, on the cores of the others.
        self._signal("SIGSTOP")
        return answer

    def _signal(self, name: str) -> None:
        if sys.platform == "linux":  # where a worker dies with its parent, stopped or not
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(getattr(signal, name))

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it, and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._errors.close()


@contextlib.contextmanager
def _pinned(threads: int) -> Iterator[None]:
    """Start processes of one thread on one core: they take this thread's affinity over."""
    if threads > 1 or not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def why_missing(library: str) -> str | None:
    """Say why a library cannot be measured here, as far as that shows without it."""
    package = LIBRARIES[library][1]
    if importlib.util.find_spec(package) is None:
        return "not installed"
    if library == "torch_compile" and not shutil.which(os.environ.get("CXX", "g++")):
        return "no C++ compiler"
    return None


@contextlib.contextmanager
def started(libraries: Sequence[str], threads: Sequence[int]) -> Iterator[tuple[list[WorkerProcess], dict[str, str]]]:
    """Start a worker for each library and number of threads; yield them and what is missing, and why."""
    missing = {name: reason for name in libraries if (reason := why_missing(name))}
    workers: list[WorkerProcess] = []
    try:
        for library, n in product(libraries, threads):
            if library not in missing:
                workers.append(WorkerProcess(library, n))
        for worker in workers:
            try:
                worker.greet()
            except WorkerError as error:
                missing[worker.library] = str(error)
        yield [worker for worker in workers if worker.library not in missing], missing
    finally:
        for worker in workers:
            worker.end()
