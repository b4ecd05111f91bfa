"""What checks are made of: a result, and work in another process, whose crash is a finding and not the end."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = ("omp", "tbb", "workqueue")
CHILD_SECONDS = 60
_CALL = """
import json, sys
from {module} import {name}
print(json.dumps({name}(*json.loads(sys.argv[1]))))
"""


@dataclass
class Result:
    """What was tried, how often, and what failed."""

    tried: str
    times: int = 0
    failures: list[str] = field(default_factory=list)

    def expect(self, right, failure):
        """Count one try; note what failed unless it was right."""
        self.times += 1
        if not right:
            self.failures.append(failure)

    def call(self, label, seconds, function, *args, **environment):
        """`call` a function in another process; if that fails, it is a try that failed, and None is returned."""
        try:
            return call(seconds, function, *args, **environment)
        except ChildFailed as problem:
            self.expect(False, f"{label}: {problem}")
            return None


class ChildFailed(Exception):
    """A process crashed, hung or raised."""


def call(seconds, function, *args, **environment):
    """Return ``function(*args)``, called in a process with these environment variables; all of it goes through JSON.

    Raises ChildFailed if it is killed, raises, or takes longer than `seconds`: then it is killed, with its children.
    """
    code = _CALL.format(module=function.__module__, name=function.__name__)
    child = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(args)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise ChildFailed(f"not at its end after {seconds} s") from None
    if child.returncode == 0:
        return json.loads(out.splitlines()[-1])
    how = f"exit code {child.returncode}" if child.returncode > 0 else signal.Signals(-child.returncode).name
    raise ChildFailed(f"{how}: {' '.join(err.splitlines()[-1:])}")


def wait_for_child(pid):
    """Return a child's exit code, or that it hangs."""
    end = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return "none, it hangs"


@cache
def layers():
    """Return Numba's threading layers that this machine has, also where they are those of users' loops alone."""
    found = []
    for layer in LAYERS:
        try:
            used = call(60, _layer, NUMBA_THREADING_LAYER=layer)
            found.append(layer if used == "fastbp" else used)
        except ChildFailed:
            continue
    return found


def _layer():
    from fastbp.kernels import workers

    if workers.own_threads():  # then only users' loops need Numba's
        from numba.np.ufunc import parallel

        parallel._launch_threads()
    return workers.threading_layer()


def threads_always():
    """Make every call that may use threads use them: else only those with much work do."""
    from fastbp._base import threads
    from fastbp.kernels import workers

    threads.SERIAL_WORK = threads.SERIAL_WORK_OF_WORKQUEUE = 0
    threads.set_num_threads(workers.most_threads())  # more than cores, if the environment says so
