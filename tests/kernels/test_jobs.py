"""What a first call needs is compiled by several processes at once, and by this one where they fail."""

import json
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

import fastbp
from fastbp.kernels import entries
from fastbp.kernels.compile import helpers, progress
from fastbp.kernels.compile.expected import Needed
from fastbp.kernels.compile.parts import size_of
from fastbp.kernels.compile.progress import Line, shown_by

# Predicts in a new process, and says what came of it: the bits, how many of its kernels were loaded and how many
# compiled in this process, the processes it has started, and what it said.
PREDICT = """
import io, json, os, sys, warnings
import numpy as np

class Terminal(io.StringIO):
    def isatty(self):
        return True

sys.stderr = Terminal()
import fastbp
from fastbp.kernels import entries
from fastbp.kernels.compile import helpers
from fastbp.kernels.compile.parts import parts_of

helpers.idle_cores = lambda: 2  # however busy the machine that runs the tests is
exec(sys.argv[2])
pids, popen = [], helpers.subprocess.Popen

def start(*args, **named):
    process = popen(*args, **named)
    pids.append(process.pid)
    return process

helpers.subprocess.Popen = start
model = fastbp.mlp([3, 4], output_activation=sys.argv[1], rng=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    out = model.predict(np.arange(6.0).reshape(2, 3))
hits = [c.cache_hits for part in parts_of(entries.predict.py_func.__wrapped__) for c in part.compiled.values()]
print(json.dumps({
    "result": out.tobytes().hex(), "loaded": sum(hits), "compiled": len(hits) - sum(hits), "processes": len(pids),
    "warnings": [str(w.message) for w in caught], "said": sys.stderr.getvalue(),
}))
"""
pytestmark = pytest.mark.jit
BUSY = "helpers.idle_cores = lambda: 1"


def started(cache, activation="identity", first="", **environment):
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_NUM_THREADS": "2",
        "FASTBP_KERNELS": "jit",
        **environment,
    }
    environment.pop("OMP_NUM_THREADS", None)
    return subprocess.Popen(
        [sys.executable, "-c", PREDICT, activation, first], stdout=subprocess.PIPE, env=environment, text=True
    )


def predict(*args, **named):
    process = started(*args, **named)
    out, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(out)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Return a cache that several processes have filled, and what came of that."""
    cache = tmp_path_factory.mktemp("several")
    return cache, predict(cache)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return a cache that one process has filled while others used the cores, and what came of that."""
    cache = tmp_path_factory.mktemp("alone")
    return cache, predict(cache, first=BUSY)


def code_of(path):
    """Return the sections with instructions and constants of the object in a file of the cache.

    Numba counts functions in each process, and writes the number into an entry's name: that is left out.
    """
    _, _, _, data = pickle.loads(path.read_bytes())
    elf = data[data.index(b"\x7fELF") :]
    start, names = struct.unpack_from("<Q", elf, 0x28)[0], struct.unpack_from("<H", elf, 0x3E)[0]
    headers = [
        struct.unpack_from("<IIQQQQ", elf, start + 64 * i) for i in range(struct.unpack_from("<H", elf, 0x3C)[0])
    ]
    found = []
    for name, kind, _, _, offset, size in headers:
        place = headers[names][4] + name
        name = elf[place : elf.index(b"\0", place)].decode()
        if kind != 8 and name.startswith((".text", ".ltext", ".rodata", ".lrodata")):
            section = elf[offset : offset + size]
            found.append((name, re.sub(rb"B\d+v\d+B|\0", b"", section) if name == ".lrodata" else section))
    return found


def test_several_processes_and_one_make_the_same_machine_code(several, alone):
    (cache, found), (other, expected) = several, alone
    assert (found["processes"], found["compiled"]) == (2, 0)
    assert (expected["processes"], expected["loaded"]) == (0, 0)
    assert found["result"] == expected["result"]
    assert found["warnings"] == expected["warnings"] == []
    files, others = ({path.name: path for path in folder.rglob("*.nbc")} for folder in (cache, other))
    assert files.keys() == others.keys()
    assert f"compiled {len(files)} kernels" in expected["said"]
    for name, path in files.items():
        assert code_of(path) == code_of(others[name]), name
        assert any(code for section, code in code_of(path) if section.endswith("text")), name


def test_one_line_counts_them(several, alone):
    for _, found in (several, alone):
        *counts, last = found["said"].split("\r")[1:]
        total = len(counts)
        assert [text.rstrip() for text in counts] == [
            f"fastbp compiles its kernels, once: {done} of {total}" for done in range(total)
        ]
        assert last.startswith(f"fastbp compiled {total} kernels in ")
        assert last.endswith(" s".ljust(len(last) - last.rindex(" s") - 1) + "\n")


def test_what_is_cached_says_nothing_and_starts_no_process(several):
    cache, before = several
    found = predict(cache)
    assert (found["said"], found["processes"], found["compiled"]) == ("", 0, 0)
    assert found["result"] == before["result"]


def test_one_kernel_more_starts_no_process(several):
    cache, _ = several
    found = predict(cache, "tanh")
    assert found["processes"] == 0
    assert "compiled 1 kernel in" in found["said"]


@pytest.mark.parametrize(
    "failing",
    [
        "sys.executable = '/nowhere/python3'",
        "helpers._COMMAND = 'raise SystemExit'",
        # the first answer is the last
        "give = helpers._give\n"
        "def once(helper, name):\n"
        "    give(helper, name)\n"
        "    if len(given) >= 2:\n"
        "        helper.kill()\n"
        "    given.append(name)\n"
        "given, helpers._give = [], once\n",
        "import signal\n"
        "def stopped(helper, name):\n"
        "    helper.send_signal(signal.SIGSTOP)\n"
        "helpers._give, helpers.LONGEST = stopped, 0.5\n",
    ],
    ids=["not there", "end at once", "killed", "stopped"],
)
def test_what_helpers_do_not_is_done_without_them(failing, alone, tmp_path):
    _, expected = alone
    found = predict(tmp_path, first=failing)
    assert found["result"] == expected["result"]
    assert found["compiled"] > 0
    assert found["warnings"] == []


def test_without_a_cache_that_can_be_written_no_process_is_started(alone, tmp_path):
    _, expected = alone
    (tmp_path / "file").touch()
    found = predict(tmp_path / "file")
    assert (found["result"], found["processes"]) == (expected["result"], 0)
    assert found["compiled"] == expected["compiled"]
    assert len(found["warnings"]) == 1
    assert "compiles without its cache" in found["warnings"][0]


def test_one_thread_asks_for_no_process():
    helpers.compile_elsewhere(Needed([], [], np.dtype(np.float32), 1), lambda: pytest.fail("looks for work"))


def test_cores_that_others_compute_on_are_not_idle():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    try:
        until = time.monotonic() + 10
        while helpers.idle_cores() > 0 and time.monotonic() < until:
            time.sleep(0.1)
        assert helpers.idle_cores() <= 0
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_processes_that_start_at_once_compile_once(tmp_path):
    both = [started(tmp_path) for _ in range(2)]
    found = [json.loads(process.communicate()[0]) for process in both]
    assert sorted(each["processes"] for each in found) == [0, 2]
    assert [each["compiled"] for each in found] == [0, 0]


def test_helpers_end_with_the_process_that_started_them(tmp_path):
    tells = (
        "give = helpers._give\nhelpers._give = lambda helper, name: (print(helper.pid, flush=True), give(helper, name))"
    )
    process = started(tmp_path, first=tells)
    pids = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for _ in range(200):
        if not any(os.path.exists(f"/proc/{pid}/cmdline") and _is_running(pid) for pid in pids):
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"{pids} are still there")


def _is_running(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")")[-1].split()[0] != "Z"


def test_a_program_that_is_no_interpreter_is_not_started(monkeypatch):
    for name, expected in (("/usr/bin/python3.13", True), ("/opt/uwsgi", False), ("", False), (None, False)):
        monkeypatch.setattr(sys, "executable", name)
        assert helpers._is_python() is expected
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not helpers._is_python()


class Shown:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def begin(self, total):
        self.told.append(total)

    def advance(self, done, total):
        self.told.append((done, total))

    def end(self, done, seconds):
        self.told.append("end")


class Compiles(fastbp.Callback):
    """Does as a call that compiles."""

    def on_fit_begin(self, trainer):
        progress.begin(2)
        progress.begin()  # one of the two
        progress.advance()
        progress.advance()


@pytest.mark.parametrize("shows", [True, False])
def test_fit_without_progress_says_nothing_of_what_it_compiles(shows):
    shown = Shown()
    trainer = fastbp.Trainer(fastbp.mlp([2, 2], rng=0))
    trainer.fit([[0.0, 1.0]], [1], epochs=1, progress=False)  # what has to be compiled is
    with shown_by(shown):
        trainer.fit([[0.0, 1.0]], [1], epochs=1, callbacks=[Compiles()], progress=shows)
    assert shown.told == ([2, (1, 2), "end"] if shows else [])


def test_a_stream_that_is_closed_ends_nothing(tmp_path):
    with open(tmp_path / "stream", "w") as stream:
        line = Line(stream)
    line.begin(2)
    line.advance(1, 2)
    line.end(2, 0.5)


def test_the_size_of_a_kernel_has_that_of_what_becomes_part_of_it():
    def inner(x):
        return x * x + 1

    def outer(x):
        return inner(x)

    assert size_of(outer) == len(outer.__code__.co_code) + len(inner.__code__.co_code)


def test_machine_code_that_comes_twice_is_taken_once(monkeypatch):
    """As where a part of an entry is missing while that is loaded, and all that is expected is compiled."""
    entry, arguments = entries.first_wrong_label, (np.array([0, 1, 5]), 2, -100)
    assert entry(*arguments) == 2
    for result in list(entry.overloads.values()):
        entry.add_overload(result)
    monkeypatch.setattr(entry, "_compile_for_args", None)  # which Numba asks where several would do
    assert entry(*arguments) == 2
