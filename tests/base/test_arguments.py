"""Arguments that are yes or no, or a number, are refused by name where they are neither, and nothing changes."""

import numpy as np
import pytest

import fastbp

X, Y = np.eye(4), np.arange(4)
TRAINER = fastbp.Trainer(fastbp.mlp([4, 4], rng=0))
FLAGS = {
    "nesterov": lambda given: fastbp.SGD(0.1, momentum=0.9, nesterov=given),
    "amsgrad": lambda given: fastbp.Adam(amsgrad=given),
    "full": lambda given: fastbp.GaussianNLLLoss(full=given),
    "log_input": lambda given: fastbp.PoissonNLLLoss(log_input=given),
    "restore_best": lambda given: fastbp.EarlyStopping(restore_best=given),
    "shuffle": lambda given: TRAINER.fit(X, Y, shuffle=given, progress=False),
    "resume": lambda given: TRAINER.fit(X, Y, resume=given, progress=False),
}
NUMBERS = {
    "lr": lambda given: fastbp.NAdam(given),
    "delta": lambda given: fastbp.HuberLoss(delta=given),
    "p": lambda given: fastbp.Dropout(given),
    "clip_norm": lambda given: fastbp.Trainer(TRAINER.model, clip_norm=given),
    "lr_factor": lambda given: fastbp.Adam(groups={"*": {"lr_factor": given}}),
    "value": lambda given: fastbp.schedules.cosine(given),
}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("given", ["run.checkpoint", None, 2, 0.5, np.ones(2)], ids=repr)
def test_what_is_neither_true_nor_false_is_refused(name, given):
    before = TRAINER.model._params.tobytes()
    with pytest.raises(TypeError, match=f"expects {name} to be True or False, got "):
        FLAGS[name](given)
    assert TRAINER.model._params.tobytes() == before
    assert TRAINER.steps == 0


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("given", [10**400, -(10**400), np.inf], ids=["large", "small", "infinite"])
def test_a_number_that_no_float_holds_is_refused(name, given):
    with pytest.raises(ValueError, match=f"expects .*{name}.* (at least|greater|in) "):
        NUMBERS[name](given)
