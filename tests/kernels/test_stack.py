"""Compiling takes nothing of a small stack, and kernels take little."""

import subprocess
import sys
import threading
import warnings
from contextvars import ContextVar

import numpy as np
import pytest

import fastbp
from fastbp.kernels._numba import global_compiler_lock
from fastbp.kernels.compile import stack
from fastbp.kernels.compile.forks import imports
from tests.kernels.many_networks import digest
from tests.kernels.painted_stack import bytes_of_stack

SMALL = 128 << 10


def in_a_small_thread(call):
    """Return what a call on a stack of SMALL bytes returns; raise what it raises."""
    return bytes_of_stack(call, SMALL)[1]


def train_with_a_loss_of_its_own():
    def own(z, target, dz):
        loss = z[0] - z[0]
        for i in range(len(z)):
            dz[i] = np.tanh(z[i] - target[i])
            loss += dz[i] * dz[i]
        return loss

    own.__module__ = "nowhere"  # so no cache keeps it
    x = np.ones((4, 3), np.float32)
    return fastbp.Trainer(fastbp.mlp([3, 2], rng=0), fastbp.row_loss(own)).step(x, x[:, :2])


@pytest.mark.jit
def test_a_call_that_compiles_takes_as_little_of_a_small_stack_as_one_that_does_not():
    first, loss = bytes_of_stack(train_with_a_loss_of_its_own)
    assert first < 40 << 10  # where it is compiled takes 60 KiB and more
    assert loss == in_a_small_thread(train_with_a_loss_of_its_own)


def test_networks_train_and_predict_on_less_than_64_kib_of_stack():
    expected = [digest(seed) for seed in range(30)]
    taken, found = bytes_of_stack(lambda: [digest(seed) for seed in range(30)])
    assert found == expected
    assert taken < 64 << 10  # a good part of it is Python's


def test_a_large_stack_compiles_itself():
    assert stack.on_full_stack(threading.get_ident) == threading.get_ident()


def test_another_thread_has_a_full_stack_and_makes_the_call_in_the_context_of_this_one():
    variable = ContextVar("variable")

    def call():
        variable.set(1)
        return stack.on_full_stack(lambda: (variable.get(), threading.get_ident(), stack.stack_of_thread()))

    value, thread, size = in_a_small_thread(lambda: (*call(), threading.get_ident()))[:3]
    assert (value, size) == (1, stack.FULL)
    assert thread not in (threading.get_ident(), None)


def test_an_error_and_a_warning_come_from_the_other_thread():
    def call():
        warnings.warn("it warned", RuntimeWarning, stacklevel=1)
        raise ZeroDivisionError

    with pytest.warns(RuntimeWarning, match="it warned"), pytest.raises(ZeroDivisionError):
        in_a_small_thread(lambda: stack.on_full_stack(call))


@pytest.mark.parametrize("lock", [imports, global_compiler_lock], ids=["imports", "compiler"])
def test_a_thread_that_has_a_lock_makes_the_call_itself(lock):
    def call():
        with lock:
            return stack.on_full_stack(threading.get_ident) == threading.get_ident()

    assert in_a_small_thread(call)


def test_where_the_system_gives_no_thread_the_call_is_made_here(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert in_a_small_thread(lambda: stack.on_full_stack(threading.get_ident) == threading.get_ident())
    assert threading.stack_size() == 0


@pytest.mark.parametrize("meanwhile", [None, 300 << 10])
def test_the_size_of_stacks_that_the_program_sets_stays(meanwhile, monkeypatch):
    start = threading.Thread.start

    def set_and_start(thread):
        if meanwhile:
            threading.stack_size(meanwhile)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", set_and_start)
    before = threading.stack_size(200 << 10)
    try:
        in_a_small_thread(lambda: stack.on_full_stack(int))
        assert threading.stack_size() == (meanwhile or 200 << 10)
    finally:
        threading.stack_size(before)


CTRL_C = """
import os, signal, threading, time
import numpy as np, fastbp
from fastbp.kernels.compile import inlined, stack
from tests.kernels.test_stack import train_with_a_loss_of_its_own as train

train_once, compile_extra = train(), inlined.ClosedCompiler.compile_extra

def slow(self, function):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(600):
        time.sleep(0.1)  # until Ctrl-C ends it

assert stack.stack_of_thread() < stack.SMALL
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have its background jobs ignore Ctrl-C
inlined.ClosedCompiler.compile_extra = slow
began = time.monotonic()
try:
    train()
except KeyboardInterrupt:
    ended = time.monotonic() - began < 30  # and not after the 60 s
    inlined.ClosedCompiler.compile_extra = compile_extra
    print(train() == train_once, threading.stack_size(), ended)
"""


@pytest.mark.jit
def test_ctrl_c_ends_what_another_thread_compiles_and_the_next_call_compiles_it():
    command = ["sh", "-c", 'ulimit -s 512; exec "$0" -c "$1"', sys.executable, CTRL_C]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (found.stdout, found.stderr) == ("True 0 True\n", "")
