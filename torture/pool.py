"""The pool of threads in native/pool.c: ``pool.c`` beside this file opens regions, in three builds of the two."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from .frame import CHILD_SECONDS, ROOT, Result

SOURCES = (ROOT / "torture" / "pool.c", ROOT / "native" / "pool.c")
BUILDS = {
    "plain": ("-O2",),
    "dawdling": ("-O2", "-include", ROOT / "torture" / "dawdle.h"),
    "sanitized": ("-O1", "-fsanitize=thread"),
}
# In a thousand. Where a fork finds a lock of the sanitizer's own taken, its child hangs, so there are none.
FORKS = {"plain": 5, "dawdling": 5, "sanitized": 0}


def pool(times, seconds=10):
    """Open random regions from many threads at once, some in tasks of others, some after a fork."""
    result = Result(f"{seconds} s of random regions from 12 threads at once, nested, forked; thread sanitizer")
    with tempfile.TemporaryDirectory() as folder:
        for kind in BUILDS:
            program = build(Path(folder), kind)
            result.expect(program, f"no C compiler for the {kind} build")
            for seed in range(times) if program else ():
                problem = run(program, "regions", seconds, seed, FORKS[kind])
                result.expect(not problem, f"{kind}, seed {seed}: {problem}")
    return result


def build(folder, kind):
    """Compile the program into a folder; return its path, or None where there is no compiler that can."""
    empty, program, compiler = folder / "empty.c", folder / kind, shutil.which("cc")
    empty.write_text("int main(void) { return 0; }")
    options = ("-std=c11", "-g", "-Wall", "-Wextra", *BUILDS[kind], "-pthread")
    probe = [compiler, *options, empty, "-o", folder / "empty"]
    if not compiler or subprocess.run(probe, capture_output=True).returncode or run(folder / "empty"):
        return None
    subprocess.run([compiler, *options, "-Werror", *SOURCES, "-o", program], check=True)
    return program


def run(program, *words):
    """Return what the program found wrong, or ""."""
    command = [str(word) for word in (program, *words)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, errors = child.communicate(timeout=CHILD_SECONDS + 60)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return "it hangs"
    return (errors.strip() or f"exit code {child.returncode}") if child.returncode else ""
