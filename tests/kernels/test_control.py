"""The caller's floating-point control word changes no bit, and is what it was after a call."""

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastbp
from fastbp.kernels.compile import control
from fastbp.kernels.simd.isa import isa

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(isa().name == "generic", reason="the words below are of x86 and of AArch64")

if isa().name == "neon":  # FPCR, whose one bit is for operands and results; the sticky flags are not in it
    DEFAULT, FLUSH, ZERO_SUBNORMALS = 0, 1 << 24, 1 << 24
    DOWN, UP, TOWARDS_ZERO = 2 << 22, 1 << 22, 3 << 22
    FLAGS = 0
else:  # MXCSR
    DEFAULT, FLUSH, ZERO_SUBNORMALS = 0x1F80, 0x8000, 0x0040
    DOWN, UP, TOWARDS_ZERO = 0x2000, 0x4000, 0x6000
    FLAGS = 0x003F  # sticky; Python sets them too
WORDS = sorted({FLUSH, ZERO_SUBNORMALS, FLUSH | ZERO_SUBNORMALS, DOWN, UP, TOWARDS_ZERO | FLUSH})


@numba.njit
def exchange(word):
    before = control.take_control()
    control.give_control_back(word)
    return before


@numba.njit
def halve(x):
    return x * 0.5


class Work:
    """Training and prediction with numbers small enough for subnormal products and sums, ready to run."""

    def __init__(self, threads):
        fastbp.set_num_threads(threads)
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((700, 20), np.float32)
        self.x[::2] *= np.float32(1e-38)
        self.x[1::7] = np.float32(1e-42)
        self.y = rng.integers(0, 5, len(self.x))
        self.model = fastbp.mlp([20, 300, 5], "tanh", rng=0)
        for p in self.model.parameters().values():
            p[...] *= np.float32(1e-3)
        self.layer = fastbp.Dense(20, 300, "silu", rng=0)  # its outputs are subnormal
        self.trainer = fastbp.Trainer(self.model, optimizer=fastbp.Adam(1e-3))

    def results(self, word):
        """Run it with a control word; return what came out, and the word afterwards."""
        x, y = self.x, self.y
        before = exchange(word)
        losses = [self.trainer.step(x, y) for _ in range(3)]
        outputs = self.model.predict(x), self.model.predict(x[:2]), self.layer.forward(x)
        gradient = fastbp.softmax_cross_entropy(x, y)[1]
        after = exchange(before)
        return [a.tobytes() for a in (np.array(losses), *self.model.parameters().values(), *outputs, gradient)], after


@pytest.mark.parametrize("word", WORDS, ids=hex)
@pytest.mark.parametrize("threads", [1, fastbp.get_num_threads()])
def test_the_callers_word_changes_no_bit_and_stays(word, threads):
    expected, _ = Work(threads).results(DEFAULT)
    got, after = Work(threads).results(DEFAULT | word)
    assert got == expected
    assert after & ~FLAGS == DEFAULT | word


def test_the_words_do_something():
    tiny = np.nextafter(np.float64(0), 1) * 4
    before = exchange(DEFAULT | FLUSH | ZERO_SUBNORMALS)
    flushed = halve(tiny)
    exchange(before)
    assert flushed == 0
    assert halve(tiny) == tiny / 2


RUN = """
import hashlib, sys
import numba, numpy as np
from tests.kernels.test_control import DEFAULT, Work, exchange
@numba.njit(parallel=True)
def halve_all(x):
    for i in numba.prange(x.size):
        x[i] *= 0.5
exchange(int(sys.argv[1]))
halve_all(np.ones(1000))  # starts the other threads, and they begin with the word of this one
exchange(DEFAULT)
results, _ = Work(2).results(DEFAULT)
print(hashlib.sha256(b"".join(results)).hexdigest())
"""


@pytest.mark.skipif(fastbp.get_num_threads() < 2, reason="needs a second thread")
def test_threads_that_began_with_another_word_compute_the_same_bits():
    def digest(word):
        command = [sys.executable, "-c", RUN, str(word)]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout

    assert digest(DEFAULT | FLUSH | ZERO_SUBNORMALS) == digest(DEFAULT)
