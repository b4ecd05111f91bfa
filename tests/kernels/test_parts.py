"""What a kernel calls by name is found wherever its code names it, and nothing is compiled that is not in use."""

import json
import subprocess
import sys
from types import ModuleType

import pytest
from numba import types

from fastbp.kernels.compile.functions import kernel
from fastbp.kernels.compile.outlined import outlined
from fastbp.kernels.compile.parts import behind, parts_of
from fastbp.kernels.optimizers import RULES


def _types(dtype):
    return types.void(types.CPointer(dtype))


@outlined(_types)
def first(x):
    x[0] = 1.0


@outlined(_types)
def second(x):
    first(x)
    x[1] = 2.0


@kernel
def through_a_kernel(x):
    second(x)


room = ModuleType("room")
room.second = second


def named(*intrinsics):
    return [behind(intrinsic) for intrinsic in intrinsics]


def test_a_function_brings_those_it_calls_first():
    assert parts_of(lambda x: second(x)) == named(first, second)
    assert behind(second).parts() == named(first)


def test_they_are_found_through_kernels():
    assert parts_of(lambda x: through_a_kernel(x)) == named(first, second)
    assert parts_of(through_a_kernel.py_func) == named(first, second)


def test_they_are_found_through_modules():
    assert parts_of(lambda x: room.second(x)) == named(first, second)


def test_they_are_found_through_closures():
    def over(called):
        @kernel
        def inner(x):
            called(x)

        return lambda x: inner(x)

    assert parts_of(over(first)) == named(first)
    assert parts_of(over(through_a_kernel)) == named(first, second)


def test_what_is_not_called_is_not_found():
    assert parts_of(lambda x: len(x)) == []


FIRST_STEP = """
import gc, json
import numpy as np
import fastbp
from fastbp.kernels.compile.outlined import Outlined
trainer = fastbp.Trainer(fastbp.mlp([3, 5, 4], "tanh", rng=0), "mse", fastbp.SGD(0.1))
trainer.step(np.ones((2, 3), "f"), np.ones((2, 4), "f"))
parts = [o for o in gc.get_objects() if issubclass(type(o), Outlined) and o.compiled]
print(json.dumps(sorted(part.function.__name__ for part in parts)))
"""


@pytest.mark.jit
def test_a_first_step_compiles_the_ops_and_passes_in_use_alone():
    done = subprocess.run([sys.executable, "-c", FIRST_STEP], capture_output=True, text=True, check=True)
    compiled = json.loads(done.stdout)
    assert {name for name in compiled if name.startswith("loss_")} == {"loss_mse"}
    rules = {f"update_{name}" for name in RULES}
    assert rules & set(compiled) == {"update_sgd"}
    passes = ("_alone", "_with_slope", "_gradient", "times_slope")
    assert [name for name in compiled if name.endswith(passes) and not name.startswith("dense")] == [
        "tanh_with_slope", "times_slope",
    ]  # fmt: skip
    assert {name for name in compiled if name.startswith("dense_")} == {
        "dense_forward", "dense_input_gradient", "dense_weight_gradient",
    }  # fmt: skip
    assert "clip" not in compiled
