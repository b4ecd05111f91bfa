"""Single training steps: the short way for arrays like those of the step before, and what it must not miss."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make_trainer(
    loss="softmax_cross_entropy", optimizer=None, sizes=(6, 9, 4), dtype="float32", activation="relu", seed=0
):
    return fastbp.Trainer(fastbp.mlp(list(sizes), activation, dtype=dtype, rng=seed), loss, optimizer)


def batch_of(rng, rows, kind="labels", dtype="float32"):
    """Return x and y for `make_trainer`, as a step takes them without a copy."""
    x = rng.standard_normal((rows, 6)).astype(dtype)
    if kind == "labels":
        return x, rng.integers(0, 4, rows)
    return x, rng.dirichlet(np.ones(4), rows).astype(dtype)


def assert_same_run(one, other):
    """Parameters, gradients, optimizer state and what a run counts are the same, bit for bit."""
    for name in ("_params", "_grads"):
        assert getattr(one.model, name).tobytes() == getattr(other.model, name).tobytes(), name
    for name in ("_state", "_hyper"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert one.steps == other.steps


def frozen(trainer):
    """Return a copy of all that a step changes."""
    return [a.copy() for a in (trainer.model._params, trainer.model._grads, trainer._state, trainer._hyper)] + [
        trainer.steps
    ]


def assert_unchanged(trainer, before):
    for array, was in zip(frozen(trainer), before, strict=True):
        assert_array_equal(array, was)


STEP_LOSSES = {
    "labels": "softmax_cross_entropy",
    "probabilities": "softmax_cross_entropy",
    "smoothed labels": fastbp.CrossEntropyLoss(label_smoothing=0.1),
    "sum": fastbp.CrossEntropyLoss(reduction="sum"),
    "mse": "mse",
    "bce": "binary_cross_entropy_with_logits",
}


class TestLaterSteps:
    """A step like the one before takes a short way into the kernel."""

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("loss", STEP_LOSSES)
    def test_are_those_that_check_everything(self, rng, loss, dtype):
        quick, checked = (make_trainer(STEP_LOSSES[loss], fastbp.Adam(0.01), dtype=dtype) for _ in range(2))
        kind = "labels" if "labels" in loss or loss == "sum" else "numbers"
        for step in range(5):
            x, y = batch_of(rng, 13, kind, dtype)
            assert quick._as_before(x, y) == (step > 0)
            # lists, or rows far apart, are copied and looked at each time
            other = (x.tolist(), y.tolist()) if step % 2 else (np.repeat(x, 2, axis=1)[:, ::2], np.repeat(y, 2, 0)[::2])
            assert not checked._as_before(*other)
            assert quick.step(x, y) == checked.step(*other)
            assert_same_run(quick, checked)

    @pytest.mark.parametrize("kind", ["labels", "numbers"])
    def test_may_be_smaller_or_larger(self, rng, kind):
        quick, checked = (make_trainer(optimizer=fastbp.SGD(0.1, momentum=0.9)) for _ in range(2))
        for rows in (8, 8, 3, 1, 8, 20, 20, 19, 700, 8, 1, 2000, 700):  # 2000: gradients in chunks
            x, y = batch_of(rng, rows, kind)
            assert quick.step(x, y) == checked.step(x.tolist(), y.tolist())
            assert_same_run(quick, checked)

    def test_may_turn_from_labels_to_probabilities_and_back(self, rng):
        quick, checked = (make_trainer() for _ in range(2))
        kinds = ["labels", "labels", "numbers", "numbers", "labels", "labels", "numbers", "labels"]
        for kind in kinds:
            x, y = batch_of(rng, 9, kind)
            loss, _ = fastbp.softmax_cross_entropy(quick.model.predict(x), y)
            assert quick.step(x, y) == checked.step(x.tolist(), y.tolist()) == loss
            assert_same_run(quick, checked)

    def test_may_come_with_sample_weights_and_without(self, rng):
        quick, checked = (make_trainer() for _ in range(2))
        for weighted in (False, False, True, False, False, True, True, False):
            x, y = batch_of(rng, 9)
            w = rng.random(9).astype(np.float32) if weighted else None
            assert quick.step(x, y, w) == checked.step(x.tolist(), y.tolist(), None if w is None else w.tolist())
            assert_same_run(quick, checked)

    def test_may_come_before_and_after_a_fit(self, rng):
        x, y = batch_of(rng, 40)
        quick, checked = (make_trainer() for _ in range(2))
        for trainer, as_it_is in ((quick, lambda a: a), (checked, lambda a: a.tolist())):
            for rows in (slice(0, 9), slice(9, 18)):
                trainer.step(as_it_is(x[rows]), as_it_is(y[rows]))
            for batch_size in (7, 33):  # fewer rows than before, and more
                trainer.fit(x, y, epochs=2, batch_size=batch_size, rng=3, progress=False)
                for rows in (slice(0, 9), slice(9, 18), slice(1, 40)):
                    trainer.step(as_it_is(x[rows]), as_it_is(y[rows]))
        assert_same_run(quick, checked)
        assert quick.steps == 2 + 2 * 6 + 3 + 2 * 2 + 3

    def test_of_two_trainers_of_one_model_take_turns(self, rng):
        """Each keeps its own loss and state; the parameters are the same memory."""
        runs = []
        for as_it_is in (lambda a: a, lambda a: a.tolist()):
            rng = np.random.default_rng(3)
            first = make_trainer(optimizer=fastbp.Adam(0.01))
            second = fastbp.Trainer(first.model, "mse", fastbp.SGD(0.1))
            for _ in range(4):
                x, y = batch_of(rng, 9)
                first.step(as_it_is(x), as_it_is(y))
                x, y = batch_of(rng, 12, "numbers")
                second.step(as_it_is(x), as_it_is(y))
            runs.append((first, second))
        for quick, checked in zip(*runs, strict=True):
            assert_same_run(quick, checked)

    def test_see_new_parameters(self, rng):
        x, y = batch_of(rng, 9)
        trainer, other = make_trainer(), make_trainer(seed=1)
        trainer.step(x, y)
        trainer.model.load_state_dict(other.model.state_dict())
        assert trainer.step(x, y) == other.step(x, y)

    @pytest.mark.parametrize("wrong", [-1, 4, 2**40, -(2**63)])
    def test_with_a_wrong_label_change_nothing(self, rng, wrong):
        trainer = make_trainer(optimizer=fastbp.Adam(0.01))
        x, y = batch_of(rng, 9)
        for _ in range(3):
            trainer.step(x, y)
        before = frozen(trainer)
        bad = y.copy()
        bad[[5, 8]] = wrong
        assert trainer._as_before(x, bad)
        with pytest.raises(ValueError, match=rf"targets in 0..3 \(or ignore_index -100\), got {wrong} in row 5"):
            trainer.step(x, bad)
        assert_unchanged(trainer, before)
        clean = make_trainer(optimizer=fastbp.Adam(0.01))
        for _ in range(4):
            clean.step(x, y)
        trainer.step(x, y)
        assert_same_run(trainer, clean)

    def test_take_the_ignored_label(self, rng):
        trainer = make_trainer()
        x, y = batch_of(rng, 9)
        trainer.step(x, y)
        before = trainer.model._params.copy()
        trainer.optimizer.lr = 0.0
        trainer.step(x, y)
        y[:] = -100
        assert np.isnan(trainer.step(x, y))
        assert_array_equal(trainer.model._params, before)
        assert not trainer.model._grads.any()

    @pytest.mark.parametrize(
        ("x", "y", "error", "message"),
        [
            (np.zeros((9, 5), np.float32), np.zeros(9, np.int64), ValueError, r"x of shape \(batch, 6\), got \(9, 5\)"),
            (np.zeros((0, 6), np.float32), np.zeros(0, np.int64), ValueError, "at least one row"),
            (np.zeros((9, 6), np.float32), np.zeros(8, np.int64), ValueError, r"targets of shape \(9,\), got \(8,\)"),
            (np.zeros((9, 6), np.float32), np.zeros((9, 2), np.int64), ValueError, r"got \(9, 2\)"),
            (np.zeros((9, 6), np.float32), np.full(9, 0.5, np.float32), ValueError, r"got 0\.5 in row 0|got \(9,\)"),
            (np.zeros((9, 6), np.float32), np.zeros((9, 3), np.float32), ValueError, r"\(9, 4\), got \(9, 3\)"),
            (np.zeros(54, np.float32), np.zeros(9, np.int64), ValueError, r"got \(54,\)"),
        ],
    )
    def test_that_do_not_fit_change_nothing(self, rng, x, y, error, message):
        for kind in ("labels", "numbers"):
            trainer = make_trainer()
            for _ in range(2):
                trainer.step(*batch_of(rng, 9, kind))
            before = frozen(trainer)
            with pytest.raises(error, match=message):
                trainer.step(x, y)
            assert_unchanged(trainer, before)

    @pytest.mark.parametrize(
        ("optimizer", "changes"),
        [
            (fastbp.SGD(0.1, momentum=0.5), {"lr": 0.2, "momentum": 0.9, "weight_decay": 0.01}),
            (fastbp.Adam(0.01), {"lr": 0.02, "betas": (0.5, 0.6), "eps": 1e-3, "weight_decay": 0.1}),
            (fastbp.RMSprop(0.01), {"lr": 0.02, "alpha": 0.5}),
        ],
        ids=["sgd", "adam", "rmsprop"],
    )
    def test_see_new_numbers_of_the_optimizer(self, rng, optimizer, changes):
        x, y = batch_of(rng, 9)
        for name, value in changes.items():
            changed, same, replaced = (make_trainer(optimizer=copy.copy(optimizer)) for _ in range(3))
            for trainer in (changed, same, replaced):
                trainer.step(x, y)
                trainer.step(x, y)
            setattr(changed.optimizer, name, value)
            replaced.optimizer = copy.copy(changed.optimizer)
            for trainer in (changed, same, replaced):
                trainer.step(x, y)
                trainer.step(x, y)
            assert (changed.model._params != same.model._params).any(), name
            assert_same_run(changed, replaced)

    def test_see_a_learning_rate_that_scales_the_step(self, rng):
        x, y = batch_of(rng, 9)
        trainer = make_trainer(optimizer=fastbp.SGD(0.5))
        trainer.step(x, y)
        for lr in (0.5, 0.25, 0.0, 1.0):
            trainer.optimizer.lr = lr
            before = trainer.model._params.copy()
            trainer.step(x, y)
            assert_allclose(trainer.model._params, before - np.float32(lr) * trainer.model._grads, rtol=1e-6, atol=1e-7)

    def test_see_decay_rates_changed_in_their_list(self, rng):
        x, y = batch_of(rng, 9)
        changed, replaced = (make_trainer(optimizer=fastbp.Adam(0.01, betas=[0.9, 0.999])) for _ in range(2))
        for trainer in (changed, replaced):
            trainer.step(x, y)
        changed.optimizer.betas[0] = 0.5
        replaced.optimizer.betas = [0.5, 0.999]
        for trainer in (changed, replaced):
            trainer.step(x, y)
        assert_same_run(changed, replaced)

    def test_refuse_another_kind_of_optimizer(self, rng):
        x, y = batch_of(rng, 9)
        for first, second in [
            (fastbp.SGD(0.1), fastbp.Adam()),
            (fastbp.Adam(0.01, weight_decay=0.1), fastbp.AdamW(0.01, weight_decay=0.1)),  # the same numbers
            (fastbp.SGD(0.1, momentum=0.9), fastbp.SGD(0.1, momentum=0.9, nesterov=True)),
            (fastbp.SGD(0.1, momentum=0.9), fastbp.SGD(0.1)),
        ]:
            trainer = make_trainer(optimizer=first)
            trainer.step(x, y)
            trainer.step(x, y)
            before = frozen(trainer)
            trainer.optimizer = second
            for _ in range(2):
                with pytest.raises(ValueError, match="make a new Trainer"):
                    trainer.step(x, y)
            assert_unchanged(trainer, before)
            trainer.optimizer = first
            trainer.step(x, y)
            assert trainer.steps == 3

    def test_refuse_a_spoilt_number(self, rng):
        x, y = batch_of(rng, 9)
        trainer = make_trainer(optimizer=fastbp.SGD(0.1))
        trainer.step(x, y)
        trainer.step(x, y)
        before = frozen(trainer)
        for lr in (-1.0, np.nan, np.inf):
            trainer.optimizer.lr = lr
            for _ in range(2):
                with pytest.raises(ValueError, match="lr at least 0"):
                    trainer.step(x, y)
        assert_unchanged(trainer, before)

    @pytest.mark.parametrize("kind", ["labels", "numbers"])
    def test_see_class_weights_changed_in_place(self, rng, kind):
        x, y = batch_of(rng, 9, kind)
        weight = np.ones(4, np.float32)
        trainer = make_trainer(fastbp.CrossEntropyLoss(weight=weight), fastbp.SGD(0.1))
        for step in range(4):
            weight[:] = rng.uniform(0.5, 2, 4)
            other = make_trainer(fastbp.CrossEntropyLoss(weight=weight.tolist()), fastbp.SGD(0.1))
            other.model.load_state_dict(trainer.model.state_dict())
            assert trainer.step(x, y) == other.step(x, y), step
            assert trainer.model._params.tobytes() == other.model._params.tobytes()
        before = frozen(trainer)
        weight[1] = np.nan
        with pytest.raises(ValueError, match="weight to be finite, got nan at 1"):
            trainer.step(x, y)
        assert_unchanged(trainer, before)

    def test_take_what_is_not_as_before(self, rng):
        x, y = batch_of(rng, 9)
        expected = make_trainer()
        forms = [
            (x, y),
            (x.astype(np.float64), y),
            (x, y.astype(np.int32)),
            (np.asfortranarray(x), y),
            (x[::-1][::-1], y[::-1][::-1]),
            (x.astype(">f4"), y.astype(">i8")),
            (x.tolist(), y.tolist()),
            (x.view(np.recarray), y),
        ]
        for array in (x.copy(), y.copy()):
            array.flags.writeable = False
            forms.append((array, y) if array.ndim == 2 else (x, array))
        unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
        unaligned[:] = x
        forms.append((unaligned, y))
        mixed = make_trainer()
        for form in forms:
            assert mixed.step(*form) == expected.step(x, y)
            assert mixed.step(x, y) == expected.step(x, y)
        assert_same_run(mixed, expected)

    @pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy_with_logits"])
    def test_for_one_output_take_a_row_of_targets(self, rng, loss):
        x, y = batch_of(rng, 9)[0], rng.random(9).astype(np.float32)
        a, b, c = (make_trainer(loss, sizes=(6, 5, 1)) for _ in range(3))
        for _ in range(3):
            assert a.step(x, y) == b.step(x, y[:, None]) == c.step(x, (y > 2).astype(np.int64) + y)
        assert_same_run(a, b)
        assert_same_run(a, c)

    def test_of_whole_numbers_are_squared_errors_all_the_same(self, rng):
        x, y = batch_of(rng, 9)[0], rng.integers(0, 5, (9, 4))
        a, b = (make_trainer("mse") for _ in range(2))
        for _ in range(3):
            assert a.step(x, y) == b.step(x, y.astype(np.float32))
        assert_same_run(a, b)

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["copy", "pickle"])
    def test_of_a_copy_train_the_copy(self, rng, copied):
        x, y = batch_of(rng, 9)
        trainer = make_trainer(optimizer=fastbp.Adam(0.01))
        trainer.step(x, y)
        other = copied(trainer)
        before = frozen(trainer)
        loss = other.step(x, y)
        assert_unchanged(trainer, before)
        assert trainer.step(x, y) == loss
        assert_array_equal(trainer.model._params, other.model._params)
        assert trainer.step(x, y) == other.step(x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [2, 3, 8, 15, 16, 17, 64, 65, 70])
@pytest.mark.parametrize("loss", ["labels", "mse", "bce"])
def test_a_step_has_the_gradients_that_are_made_by_hand(rng, loss, outputs, dtype):
    """Layer by layer on arrays without room, against the workspace of a step."""
    functions = {
        "labels": fastbp.softmax_cross_entropy, "mse": fastbp.mse_loss, "bce": fastbp.binary_cross_entropy_with_logits
    }  # fmt: skip
    for rows in (1, 2, 7, 8, 9, 20, 33):
        trainer = make_trainer(STEP_LOSSES[loss], fastbp.SGD(0.1), (6, 19, 7, outputs), dtype)
        x = rng.standard_normal((rows, 6)).astype(dtype)
        y = rng.integers(0, outputs, rows) if loss == "labels" else rng.random((rows, outputs)).astype(dtype)
        model = copy.deepcopy(trainer.model)
        value, dz = functions[loss](model(x), y)
        model.backward(dz)
        assert trainer.step(x, y) == value
        for name, gradient in model.gradients().items():
            assert gradient.tobytes() == trainer.model.gradients()[name].tobytes(), (name, rows)
