"""Arrays for the kernels begin at a pair of cache lines, in a model, a trainer and their copies."""

import copy
import pickle

import numpy as np
import pytest

import fastbp
from fastbp._base import memory


def begins_a_pair(array):
    return array.ctypes.data % memory.LINE_PAIR == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 33, 100_000])
def test_zeros_are_aligned_writable_and_zero(size, dtype):
    array = memory.zeros(size, dtype)
    assert array.shape == (size,)
    assert array.dtype == dtype
    assert size == 0 or begins_a_pair(array)
    assert not array.any()
    array += 1


@pytest.mark.parametrize("copied", [lambda t: t, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_what_a_step_works_in_is_aligned(copied):
    trainer = fastbp.Trainer(fastbp.mlp([7, 13, 3], rng=0), optimizer=fastbp.Adam())
    x, y = np.ones((5, 7), np.float32), np.zeros(5, np.int64)
    trainer.step(x, y)
    expected = copy.deepcopy(trainer).step(x, y)
    trainer = copied(trainer)
    assert trainer.step(x, y) == expected
    for array in (trainer.model._params, trainer.model._grads, trainer._state, trainer._work):
        assert begins_a_pair(array)
