"""Processes that compile into the cache for this one, which waits. Whatever they fail to do, it does itself."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import progress
from .expected import Needed
from .folder import cache_folder, make_folder
from .system import lock_file

MOST = 4  # the largest kernel takes a quarter of the whole
# Seconds to wait for a process that compiles the same or for a helper's next answer; between two looks at the cache
LONGEST, BETWEEN = 60.0, 0.1
LOOKS = 3  # at how busy the cores are, some milliseconds apart: what passes in between keeps nobody from a core
LOCK = "compiling.lock"
# The path of this process, so that a helper finds the same packages
_COMMAND = "import sys; sys.path[:] = {path!r}; from fastbp.kernels.compile.helper import main; main()"


def compile_elsewhere(needed: Needed, missing: Callable[[], list[str]]) -> None:
    """Let other processes compile what is missing, where several may run and the cache can be written to.

    missing : () to the names of the jobs, see `jobs.jobs_of`, whose code is not in the cache, the longest first
    """
    if needed.processes < 2 or not _is_python():
        return
    with contextlib.suppress(OSError), _alone(missing):
        left = missing()
        processes = min(needed.processes, len(left), MOST, idle_cores())
        if processes > 1:
            _compile(needed, left, processes)


def idle_cores() -> int:
    """Return how many cores others leave to this process now: a helper on a busy one costs more than it brings."""
    cores = os.cpu_count() or 1
    try:
        busy = min(_running() for _ in range(LOOKS)) - 1
    except (OSError, ValueError, IndexError):  # not Linux
        return cores
    return cores - busy


def _running() -> int:
    """Return how many threads of the machine run or wait for a core, this one among them."""
    time.sleep(BETWEEN / 100)
    return int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])


def _is_python() -> bool:
    """Whether `sys.executable` is an interpreter, not a program that Python is part of."""
    name = os.path.basename(sys.executable or "")
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


@contextlib.contextmanager
def _alone(missing: Callable[[], list[str]]) -> Iterator[None]:
    """Inside, be the only process that has helpers for this cache: one that has some is waited for.

    OSError where the cache cannot be written to, there are no locks, or the other process takes too long.
    """
    folder = cache_folder()
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise PermissionError(folder)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        until, left = time.monotonic() + LONGEST, len(missing())
        while not _locked(handle):
            if time.monotonic() > until:
                raise TimeoutError(folder)
            time.sleep(BETWEEN)
            before, left = left, len(missing())
            for _ in range(before - left):
                progress.advance()
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        lock_file(handle)
    except BlockingIOError:
        return False
    return True


def _compile(needed: Needed, names: list[str], processes: int) -> None:
    """Give each of some processes one job after another, and wait until they have ended."""
    request = json.dumps([[code[:2] for code in needed.codes], list(needed.entries), needed.dtype.name])
    command = [sys.executable, "-c", _COMMAND.format(path=[*map(os.path.abspath, sys.path)]), request]
    waiting, helpers = iter(names), list[Any]()
    answers, theirs = os.pipe()
    try:
        try:
            for _ in range(processes):
                helper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.DEVNULL)
                helpers.append(helper)
        finally:
            os.close(theirs)
        by_pid = {helper.pid: helper for helper in helpers}
        for helper in helpers:
            _give(helper, next(waiting, None))
        for pid in _answers(answers):
            progress.advance()
            _give(by_pid[pid], next(waiting, None))
    finally:
        os.close(answers)
        for helper in helpers:
            helper.kill()
            helper.wait()
            helper.stdin.close()


def _answers(pipe: int) -> Iterator[int]:
    """Yield who has done a job, until the last helper has ended; or none answers for long, as one that was stopped."""
    rest = b""
    while select.select([pipe], [], [], LONGEST)[0] and (found := os.read(pipe, 1 << 12)):
        *lines, rest = (rest + found).split(b"\n")
        yield from map(int, lines)


def _give(helper: Any, name: str | None) -> None:
    """Give a helper a job, or let it end where there is none."""
    with contextlib.suppress(OSError):  # it has ended
        if name is None:
            helper.stdin.close()
        else:
            helper.stdin.write(f"{name}\n".encode())
            helper.stdin.flush()
