"""How many threads."""

import os
import subprocess
import sys
import threading
import warnings

import pytest

import fastbp
from fastbp._base import threads
from fastbp.kernels.compile import pool


def threads_with(**environment):
    done = subprocess.run(
        [sys.executable, "-c", "import fastbp; print(fastbp.get_num_threads())"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_environment_and_affinity_limit_the_threads():
    cores = len(os.sched_getaffinity(0))
    assert threads_with(OMP_NUM_THREADS="1") == 1
    assert threads_with(NUMBA_NUM_THREADS="1") == 1
    assert threads_with(OMP_NUM_THREADS="999") <= cores
    assert threads_with(OMP_NUM_THREADS="none of your business") <= cores
    assert threads_with(OMP_NUM_THREADS="²", NUMBA_NUM_THREADS="²") <= cores  # a digit, and no number


@pytest.mark.parametrize(
    ("text", "quota"), [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("", None)]
)
def test_cgroup_quota_is_rounded_up(monkeypatch, tmp_path, text, quota):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(threads, "Path", lambda p: tmp_path / p.rsplit("/", 1)[1])
    assert threads._cgroup_quota() == quota


def test_set_num_threads_sets_and_refuses():
    before = fastbp.get_num_threads()
    try:
        fastbp.set_num_threads(1)
        assert fastbp.get_num_threads() == 1
        assert threads.tasks_for(1e12) == 1
    finally:
        fastbp.set_num_threads(before)
    for wrong in (0, -1, 10**6, 1.5, True, "2"):
        with pytest.raises(ValueError, match="n from 1 to"):
            fastbp.set_num_threads(wrong)


def test_small_work_opens_no_parallel_region():
    assert threads.tasks_for(0) == 1


def test_import_compiles_nothing():
    code = (
        "from numba.core import event\n"
        "class Listener(event.Listener):\n"
        "    def on_start(self, e): print('compiles', e.data)\n"
        "    def on_end(self, e): pass\n"
        "event.register('numba:compile', Listener())\n"
        "import fastbp, fastbp.kernels.run.train\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


@pytest.mark.jit
@pytest.mark.parametrize(
    ("environment", "spins"),
    [({}, pool.SPIN_COUNT), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_idle_threads_soon_sleep_unless_the_user_says_how_to_wait(environment, spins):
    """GNU OpenMP reads the variable when the pool starts; nobody else sees it changed."""
    code = (
        "import os, fastbp\n"
        "from fastbp.kernels.compile import pool\n"
        "launch = pool.parallel._launch_threads\n"
        "pool.parallel._launch_threads = lambda: (print(os.environ.get('GOMP_SPINCOUNT')), launch())\n"
        "fastbp.mlp([2, 2]).predict([[0, 0]])\n"
        "print(os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, check=True
    )
    first, *_, after = done.stdout.split()  # a process that compiles asks once more, and has it by then
    assert first == spins
    assert after == environment.get("GOMP_SPINCOUNT", "None")


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.jit
def test_the_tbb_of_pip_is_loaded_where_there_is_no_openmp():
    code = (
        "import ctypes, sys, fastbp, fastbp.kernels.compile.pool\n"
        "load = ctypes.CDLL\n"
        "ctypes.CDLL = lambda name, *rest, **more: (print(name), load(name, *rest, **more))[1]\n"
        "if len(sys.argv) > 1: sys.modules['numba.np.ufunc.omppool'] = None\n"
        "fastbp.mlp([2, 2]).predict([[0, 0]])\n"
    )
    assert "libtbb.so.12" not in run(code).stdout
    assert "libtbb.so.12" in run(code.replace("if len(sys.argv) > 1: ", "")).stdout


@pytest.mark.jit
def test_workqueue_is_named_once_and_used_for_large_work_alone():
    code = (
        "import numpy as np, fastbp\n"
        "from fastbp._base.threads import tasks_for\n"
        "fastbp.set_num_threads(2)\n"
        "model = fastbp.mlp([256, 256])\n"
        "for _ in range(3): model.predict(np.ones((512, 256), np.float32))\n"
        "print(tasks_for(4e6), tasks_for(1e9))\n"
    )
    done = run(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2")
    assert done.stderr.count("RuntimeWarning") == 1
    assert "libgomp" in done.stderr
    assert done.stdout.split() == ["1", "2"]
    quiet = run(code, NUMBA_THREADING_LAYER="omp", NUMBA_NUM_THREADS="2")
    assert "RuntimeWarning" not in quiet.stderr
    assert quiet.stdout.split() == ["2", "2"]


@pytest.mark.jit
def test_no_room_for_the_stacks_of_a_pool_means_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "_threads", 7)
    monkeypatch.setattr(threads, "_of_thread", threads._OfThread())
    sizes = []
    monkeypatch.setattr(threads, "is_room_for", lambda size: sizes.append(size) or len(sizes) > 1)
    assert [threads.tasks_for(1e12) for _ in range(3)] == [1, 7, 7]
    assert sizes[0] >= 7 * 2**20
    assert len(sizes) == 2  # asked no more once there is a pool


@pytest.mark.jit
def test_a_large_first_call_starts_the_pool_with_a_short_spin():
    code = (
        "import os, numpy as np, fastbp\n"
        "from fastbp.kernels.compile import pool\n"
        "launch = pool.parallel._launch_threads\n"
        "spins = []\n"
        "def note(): spins.append(os.environ.get('GOMP_SPINCOUNT')); launch()\n"
        "pool.parallel._launch_threads = note\n"
        "fastbp.set_num_threads(2)\n"
        "fastbp.mlp([256, 256]).predict(np.ones((512, 256), np.float32))\n"
        "print(spins[0])\n"
    )
    assert run(code, NUMBA_NUM_THREADS="2").stdout.strip() == pool.SPIN_COUNT


def test_a_forked_child_shows_its_configuration():
    """With no region: GNU OpenMP would kill it."""
    code = (
        "import os, numpy as np, fastbp\n"
        "fastbp.set_num_threads(2)\n"
        "fastbp.mlp([256, 256]).predict(np.ones((512, 256), np.float32))\n"
        "child = os.fork()\n"
        "if child: print(os.waitpid(child, 0)[1])\n"
        "else: fastbp.show_config()\n"
    )
    assert run(code, NUMBA_NUM_THREADS="2").stdout.splitlines()[-1] == "0"


def test_a_limit_holds_inside_and_for_one_python_thread(monkeypatch):
    monkeypatch.setattr(threads, "_threads", 4)
    monkeypatch.setattr(threads, "_on_workqueue", lambda: False)
    monkeypatch.setattr(threads, "_room_for_stacks", lambda n: True)
    elsewhere = []
    with threads.at_most(2):
        with threads.at_most(1):
            assert threads.tasks_for(1e12) == 1
        assert threads.tasks_for(1e12) == 2
        thread = threading.Thread(target=lambda: elsewhere.append(threads.tasks_for(1e12)))
        thread.start()
        thread.join()
        with threads.at_most(None):
            assert threads.tasks_for(1e12) == 4
    assert elsewhere == [4]
    threads._of_thread.__dict__.pop("pool", None)  # there is none of so many threads


def test_config_names_what_decides_speed(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fastbp.show_config()
    text = capsys.readouterr().out
    for name in ("CPU", "instruction set", "tile", "threads", "threading layer", "cache folder", "versions"):
        assert name in text
