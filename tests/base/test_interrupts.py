"""What is `held_back` runs whole, and afterwards everything is as it was."""

import signal
import subprocess
import sys
import threading
import types

import pytest

from fastbp._base.interrupts import Terminated, held_back, termination_interrupts
from fastbp.kernels.compile import interrupts


@pytest.fixture
def handlers():
    """Return a list of signals that came; SIGTERM's handler adds to it, and raises SystemExit."""
    came = []

    def handler(number, frame):
        came.append((number, frame is not None))
        raise SystemExit

    before = signal.signal(signal.SIGTERM, handler)
    ctrl_c = signal.getsignal(signal.SIGINT)
    yield came
    assert signal.getsignal(signal.SIGTERM) is handler
    assert signal.getsignal(signal.SIGINT) is ctrl_c
    signal.signal(signal.SIGTERM, before)


def run_whole(*signals, depth=1, done=None):
    """Let signals come where they are held back; return, or add to `done`, how far it went."""
    done = [] if done is None else done
    with held_back():
        if depth > 1:
            run_whole(*signals, depth=depth - 1, done=done)
        else:
            for number in signals:
                signal.raise_signal(number)
        done.append(depth)
    return done


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("depth", [1, 2])
def test_an_exception_waits_for_the_end(number, error, depth, handlers):
    done = []
    with pytest.raises(error):
        run_whole(number, depth=depth, done=done)
    assert done == [1, 2][:depth]
    assert handlers == ([(number, True)] if number == signal.SIGTERM else [])


def test_a_signal_that_comes_twice_is_raised_once(handlers):
    with pytest.raises(SystemExit):
        run_whole(signal.SIGTERM, signal.SIGTERM)
    assert len(handlers) == 1


def test_both_are_raised(handlers):
    with pytest.raises(KeyboardInterrupt) as found:
        run_whole(signal.SIGINT, signal.SIGTERM)
    assert isinstance(found.value.__context__, SystemExit)
    assert len(handlers) == 1


def test_an_error_inside_goes_on(handlers):
    with pytest.raises(ZeroDivisionError), held_back():
        raise ZeroDivisionError


def test_what_is_ignored_stays_so(handlers):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert run_whole(signal.SIGINT) == [1]
    assert signal.signal(signal.SIGINT, before) is signal.SIG_IGN


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_exception_while_it_begins_leaves_nothing_held(when, handlers, monkeypatch):
    """SIGTERM comes as its handler is replaced, when Ctrl-C is held already."""
    calls = []

    def set_handler(number, handler):
        calls.append(number)
        now = number == signal.SIGTERM and calls.count(number) == 1
        if now and when == "before":
            signal.raise_signal(number)
        signal.signal(number, handler)
        if now and when == "after":
            raise SystemExit

    own = types.SimpleNamespace(**{**vars(interrupts._signal), "signal": set_handler})
    monkeypatch.setattr(interrupts, "_signal", own)
    with pytest.raises(SystemExit), held_back():
        pytest.fail("it has not begun")
    assert calls == [signal.SIGINT, signal.SIGTERM, signal.SIGTERM, signal.SIGINT]


def test_another_thread_holds_nothing(handlers):
    found = []

    def look():
        with held_back():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


def test_sigterm_interrupts_inside_and_waits_where_it_is_held_back():
    done = []
    with termination_interrupts():
        with pytest.raises(Terminated):
            run_whole(signal.SIGTERM, done=done)
        assert done == [1]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_sigterm_that_is_there_stays(handlers):
    with pytest.raises(SystemExit), termination_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert len(handlers) == 1


FIRST_CALL = """
import builtins, signal, numpy as np, fastbp

def with_ctrl_c(name, *rest, _import=builtins.__import__, **named):
    if name.startswith("numba.np"):
        builtins.__import__ = _import
        signal.raise_signal(signal.SIGINT)
    return _import(name, *rest, **named)

trainer = fastbp.Trainer(fastbp.mlp([3, 2], rng=0))
x, y = np.ones((4, 3), np.float32), np.zeros(4, np.int64)
builtins.__import__ = with_ctrl_c
try:
    trainer.step(x, y)
except KeyboardInterrupt:
    print(trainer.steps, trainer.step(x, y) > 0)
"""


@pytest.mark.jit
def test_after_ctrl_c_in_the_import_of_the_first_call_the_next_one_computes():
    found = subprocess.run([sys.executable, "-c", FIRST_CALL], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("0 True\n", "")
