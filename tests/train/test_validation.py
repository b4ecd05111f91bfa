"""Rows that `fit` holds out: which they are, that they are not trained on, and that a resumed run has the same."""

import numpy as np
import pytest

import fastbp
from fastbp.data.split import split_rows
from fastbp.train.progress import Progress


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class Stop(fastbp.Callback):
    """Ends a run at a step."""

    def __init__(self, step):
        self.step, self.every = step, 1

    def on_steps_end(self, trainer):
        if trainer.steps == self.step:
            raise InterruptedError


def make(outputs=3, loss="softmax_cross_entropy"):
    return fastbp.Trainer(fastbp.mlp([4, 5, outputs], "tanh", rng=0), loss, fastbp.Adam(1e-2))


def held_out(trainer, x, y, split, rng):
    """Return the rows that `fit` evaluates, by asking a metric."""
    seen = []

    def look(targets, outputs):
        seen.append(np.flatnonzero((trainer.model.predict(x)[:, None] == outputs[None]).all(axis=2).any(axis=1)))
        return 0.0

    trainer.fit(x, y, validation_split=split, metrics=[look], rng=rng, progress=False)
    return seen[0]


def test_rows_are_held_out_at_random_and_of_each_class_the_same_part(rng):
    x, y = rng.standard_normal((200, 4)), np.repeat([0, 1, 2], [150, 40, 10])
    rows = held_out(make(), x, y, 0.1, 1)
    assert np.bincount(y[rows]).tolist() == [15, 4, 1]
    assert not np.array_equal(rows, held_out(make(), x, y, 0.1, 2))
    np.testing.assert_array_equal(rows, held_out(make(), x, np.eye(3)[y], 0.1, 1))
    assert len(held_out(make(1, "mse"), x, x[:, 0], 0.26, 1)) == 52
    binary = held_out(make(1, "binary_cross_entropy_with_logits"), x, y == 2, 0.1, 1)
    assert (y[binary] == 2).sum() == 1
    probabilities = rng.dirichlet(np.ones(3), 200)
    assert len(held_out(make(), x, probabilities, 0.1, 1)) == 20


@pytest.mark.parametrize("kind", ["array", "far columns", "bytes", "sparse", "weights"])
def test_the_others_are_trained_on_as_if_they_were_all(library, rng, kind):
    x, y, weight = rng.integers(0, 3, (90, 4)).astype(np.float32), rng.integers(0, 3, 90), None
    given = x
    if kind == "far columns":
        given = np.asfortranarray(x.astype(np.float64))
    elif kind == "bytes":
        given = x.astype(np.uint8)
    elif kind == "sparse":
        given = library("scipy.sparse").csr_array(x)
    elif kind == "weights":
        weight = rng.random(90)
    seen = []

    def look(targets, outputs, sample_weight):
        seen.append((targets, sample_weight))
        return 0.0

    one, other = make(), make()
    asked = {"epochs": 3, "batch_size": 16, "shuffle": False, "rng": 1, "progress": False}
    history = one.fit(given, y, validation_split=0.3, sample_weight=weight, metrics=[look], **asked)
    twin = np.random.default_rng(1)
    seed = int(twin.integers(2**63))
    train, rows = map(np.sort, split_rows(90, 0.3, seed, y))
    parts = [None, None] if weight is None else [weight[train], weight[rows]]
    data = (x[rows], y[rows], *([] if weight is None else [parts[1]]))
    expected = other.fit(x[train], y[train], validation_data=data, sample_weight=parts[0], **asked)
    assert {name: history[name] for name in expected} == expected
    assert one.model._params.tobytes() == other.model._params.tobytes()
    np.testing.assert_array_equal(seen[0][0], y[rows])
    if weight is not None:
        np.testing.assert_array_equal(seen[0][1], weight[rows].astype(np.float32))


@pytest.mark.parametrize("through", ["here", "file"])
def test_a_resumed_run_holds_out_the_same_rows_and_ends_with_the_same_bits(rng, tmp_path, through):
    x, y = rng.standard_normal((70, 4)), rng.integers(0, 3, 70)
    asked = {"epochs": 4, "batch_size": 9, "rng": 3, "validation_split": 0.2, "metrics": ["auc"], "progress": False}
    straight, trainer = make(), make()
    expected = straight.fit(x, y, **asked)
    for step in (3, 10, 21):
        with pytest.raises(InterruptedError):
            trainer.fit(x, y, callbacks=[Stop(step)], resume=True, **asked)
        if through == "file":
            trainer.save_checkpoint(tmp_path / "c")
            trainer = fastbp.Trainer.load_checkpoint(tmp_path / "c")
    assert trainer.fit(x, y, resume=True, **asked) == expected
    assert trainer.model._params.tobytes() == straight.model._params.tobytes()
    for split, match in ((0.3, "got 0.3"), (None, "got None")):
        with pytest.raises(ValueError, match="validation_split 0.2 as in the run that it resumes, " + match):
            trainer.fit(x, y, resume=True, **asked | {"validation_split": split, "metrics": []})


def test_progress_counts_the_rows_that_are_trained_on(rng):
    noted = []

    class Notes(Progress):
        def fit(self, epochs, samples, flops, ended=0):
            noted.append(samples)
            return super().fit(epochs, samples, flops, ended)

        def advance(self, samples, loss):
            noted.append(samples)

    x, y = rng.standard_normal((70, 4)), rng.integers(0, 3, 70)
    make().fit(x, y, batch_size=9, validation_split=0.2, progress=Notes())
    assert (noted[0], noted[-1]) == (56, 56)


def test_the_row_of_an_error_is_that_of_the_data(rng):
    x, y = rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    x[17, 2] = np.nan
    with pytest.raises(fastbp.NotFiniteError, match="x in row 17") as caught:
        make().fit(x, y, validation_split=0.2, rng=0, batch_size=4, progress=False)
    assert caught.value.rows.tolist() == [17]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"validation_split": 0.2, "validation_data": ([[0.0] * 4], [0])}, ValueError, "or validation_split, got both"),
        ({"validation_split": 0}, ValueError, "validation_split between 0 and 1, got 0.0"),
        ({"validation_split": 1.0}, ValueError, "validation_split between 0 and 1, got 1.0"),
        ({"validation_split": "0.1"}, TypeError, "validation_split to be a number"),
        ({"validation_split": 0.9}, ValueError, "leaves no row to train with"),
    ],
)
def test_wrong_parts_are_refused_before_the_first_step(options, error, match):
    trainer = make(1, "mse")
    with pytest.raises(error, match=match):
        trainer.fit(np.zeros((3, 4)), np.zeros(3), progress=False, **options)
    assert trainer.steps == 0
