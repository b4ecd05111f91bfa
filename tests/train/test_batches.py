"""`fit` on an iterable of batches: the steps are those of `step`, and a run goes on where the iterable can."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp

rng = np.random.default_rng(0)
ROWS, BATCH, FEATURES = 90, 16, 7
X, Y = rng.standard_normal((ROWS, FEATURES)).astype(np.float32), rng.integers(0, 3, ROWS)
TARGETS, WEIGHT = rng.standard_normal((ROWS, 3)), rng.uniform(0, 2, ROWS)
STEPS = -(-ROWS // BATCH)


def cut(*arrays):
    return [tuple(a[i : i + BATCH] for a in arrays) for i in range(0, ROWS, BATCH)]


def trainer(loss="softmax_cross_entropy"):
    layers = fastbp.Dense(FEATURES, 8, "relu", rng=0), fastbp.Dropout(0.2), fastbp.Dense(8, 3, rng=1)
    return fastbp.Trainer(fastbp.Sequential(*layers), loss, fastbp.Adam(1e-2))


def squares(outputs, targets):
    d = outputs - targets
    return float((d**2).mean()), 2 * d / d.size


class Anew:
    """An iterable whose length nobody knows."""

    def __init__(self, batches):
        self.batches, self.begun = batches, 0

    def __iter__(self):
        self.begun += 1
        return iter(self.batches)


class Stop(fastbp.Callback):
    """Notes the steps, and raises an error at one of them."""

    def __init__(self, at=None, every=None):
        self.at, self.every, self.seen = at, every, []

    def on_steps_end(self, trainer):
        self.seen.append(trainer.steps)
        if trainer.steps == self.at:
            raise ArithmeticError


def run(one, *data, epochs=2, **more):
    history = one.fit(*data, epochs=epochs, rng=1, progress=False, **more)
    return dict(history), one.model._params.tobytes(), one.steps


@pytest.mark.parametrize(
    ("loss", "y", "weight"),
    [
        ("softmax_cross_entropy", Y, None),
        ("softmax_cross_entropy", Y, WEIGHT),
        ("softmax_cross_entropy", np.eye(3)[Y], None),
        (fastbp.CrossEntropyLoss(weight=[1, 2, 3], reduction="sum"), Y, WEIGHT),
        ("mse", TARGETS, WEIGHT),
        (squares, TARGETS.astype(np.float32), None),
    ],
    ids=["labels", "weighted", "one-hot", "class weights", "numbers", "a loss in NumPy"],
)
def test_batches_train_as_the_arrays_that_they_are_cut_from(loss, y, weight):
    arrays = [X, y] if weight is None else [X, y, weight]
    plain = run(trainer(loss), *arrays[:2], sample_weight=weight, batch_size=BATCH, shuffle=False)
    for given in (cut(*arrays), tuple(map(list, cut(*arrays))), Anew(cut(*arrays))):
        assert run(trainer(loss), given) == plain
    generator = (batch for _ in range(3) for batch in cut(*arrays))
    assert run(trainer(loss), generator, steps_per_epoch=STEPS) == plain
    assert run(trainer(loss), Anew(cut(*arrays)), steps_per_epoch=STEPS) == plain


def test_a_batch_is_what_a_step_takes():
    sparse = pytest.importorskip("scipy.sparse").csr_array(np.where(X > 1, X, 0))
    scaled = [(fastbp.Scaled(x.astype(np.float64), 2.0), y) for x, y in cut(X, Y)]
    for given, x in ((scaled, X / 2), ([(sparse[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, ROWS, BATCH)], 0)):
        one, other = (fastbp.Trainer(fastbp.mlp([FEATURES, 8, 3], rng=0)) for _ in range(2))
        whole = x if isinstance(x, np.ndarray) else sparse.toarray()
        found, expected = run(one, given), run(other, whole, Y, batch_size=BATCH, shuffle=False)
        assert found == expected


def test_a_data_loader_gives_batches(torch):
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(data, BATCH)
    assert run(trainer(), loader) == run(trainer(), X, Y, batch_size=BATCH, shuffle=False)
    shuffled = torch.utils.data.DataLoader(data, BATCH, shuffle=True, drop_last=True)
    assert run(trainer(), shuffled)[2] == 2 * (STEPS - 1)
    with pytest.raises(TypeError, match="got x of type TensorDataset without y"):
        trainer().fit(data, progress=False)


def test_epochs_of_so_many_batches_follow_one_another_through_iterations():
    one, other, steps = trainer(), trainer(), 4
    given = Anew(cut(X, Y))
    run(one, given, epochs=3, steps_per_epoch=steps)
    assert given.begun == 2
    chained = (cut(X, Y) * 2)[: 3 * steps]
    run(other, chained, epochs=1)
    assert one.history.epochs == 3
    assert_array_equal(one.model._params, other.model._params)


def test_validation_metrics_and_callbacks_go_with_it():
    stopping, seen = fastbp.EarlyStopping("val_loss", patience=1), Stop(every=4)
    one = fastbp.Trainer(fastbp.mlp([FEATURES, 3], rng=0), optimizer=fastbp.SGD(10.0))
    history = one.fit(
        cut(X, Y), epochs=20, validation_data=(X, Y), metrics=["f1_macro"], callbacks=[stopping, seen], progress=False
    )  # fmt: skip
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "val_f1_macro"]
    assert history.epochs < 20
    assert seen.seen == list(range(4, STEPS * history.epochs + 1, 4))


@pytest.mark.parametrize("at", [1, STEPS - 1, STEPS, STEPS + 2])
@pytest.mark.parametrize(
    ("make", "joined"),
    [(list, {}), (Anew, {}), (Anew, {"steps_per_epoch": 4})],
    ids=["a list", "of unknown length", "through iterations"],
)
def test_a_run_goes_on_at_the_batch_where_it_was(make, joined, at, tmp_path):
    whole, broken = trainer(), trainer()
    expected = run(whole, make(cut(X, Y)), epochs=3, callbacks=[Stop()], **joined)
    with pytest.raises(ArithmeticError):
        run(broken, make(cut(X, Y)), epochs=3, callbacks=[Stop(at)], **joined)
    assert broken.steps == at
    broken.save_checkpoint(tmp_path / "run")
    for one in (broken, fastbp.Trainer.load_checkpoint(tmp_path / "run")):
        assert run(one, make(cut(X, Y)), epochs=3, resume=True, callbacks=[Stop()], **joined) == expected


def test_an_interrupt_in_the_iterable_leaves_the_steps_before_it():
    def interrupted():
        for i, batch in enumerate(cut(X, Y)):
            if i == 3:
                raise KeyboardInterrupt
            yield batch

    one, other = trainer(), trainer()
    with pytest.raises(KeyboardInterrupt):
        run(one, interrupted(), steps_per_epoch=STEPS)
    assert one.steps == 3
    assert run(one, cut(X, Y), resume=True) == run(other, cut(X, Y))


def test_an_iterator_begins_no_epoch_in_its_middle():
    one, other = trainer(), trainer()
    with pytest.raises(ArithmeticError):
        run(one, iter(cut(X, Y)), epochs=1, callbacks=[Stop(2)])
    before = one.model._params.tobytes()
    with pytest.raises(ValueError, match="cannot go on after 2 batches of an epoch with an iterator"):
        run(one, iter(cut(X, Y)), epochs=1, resume=True, callbacks=[Stop()])
    assert (one.steps, one.model._params.tobytes()) == (2, before)
    run(one, Anew(cut(X, Y)), epochs=1, resume=True, callbacks=[Stop()])
    run(one, iter(cut(X, Y)), epochs=2, resume=True, callbacks=[Stop()])
    assert run(other, cut(X, Y), epochs=2)[1] == one.model._params.tobytes()


def test_a_step_whose_loss_is_not_finite_is_not_made():
    one, batches = trainer(), cut(X.copy(), Y)
    batches[2][0][5, 1] = np.nan
    with pytest.raises(fastbp.NotFiniteError, match=r"step 3 in epoch 1.*Not finite: x in row 5") as caught:
        run(one, batches)
    assert (caught.value.rows, one.steps) == ([5], 2)


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            (X, TypeError, "got x of type ndarray without y"),
            (7, TypeError, "got x of type int without y"),
            ({"x": X, "y": Y}, TypeError, "got x of type dict without y"),
            ([], ValueError, "at least one batch, got none"),
            ([X], TypeError, "expects x to give batches .* got ndarray"),
            ([(X,)], TypeError, "got tuple of 1"),
            ([{"x": X}], TypeError, "got dict"),
            ([(X[:, :3], Y)], ValueError, r"x of shape \(batch, 7\), got \(90, 3\)"),
        ],
    )
    def test_before_anything_changes(self, given, error, message):
        one = trainer()
        with pytest.raises(error, match=message):
            one.fit(given, progress=False)
        assert one.steps == 0

    @pytest.mark.parametrize(
        ("name", "value"),
        [("batch_size", 32), ("sample_weight", WEIGHT), ("validation_split", 0.1), ("drop_last", True)],
    )
    def test_what_an_iterable_leaves_nothing_to(self, name, value):
        with pytest.raises(ValueError, match=f"fit expects no {name} with an iterable of batches"):
            trainer().fit(cut(X, Y), progress=False, **{name: value})

    def test_steps_per_epoch_of_arrays(self):
        with pytest.raises(ValueError, match="steps_per_epoch with an iterable"):
            trainer().fit(X, Y, steps_per_epoch=3, progress=False)

    @pytest.mark.parametrize("count", [STEPS - 1, STEPS + 1])
    def test_another_number_of_batches_than_before(self, count):
        class Changing(Anew):
            def __iter__(self):
                self.begun += 1
                return iter((self.batches * 2)[: STEPS if self.begun == 1 else count])

        said = "more" if count > STEPS else count
        with pytest.raises(ValueError, match=f"expects x to give {STEPS} batches in every epoch, got {said}"):
            run(trainer(), Changing(cut(X, Y)))

    def test_a_generator_that_is_at_its_end(self):
        one = trainer()
        with pytest.raises(ValueError, match="got 0; an iterator gives its batches once: pass steps_per_epoch"):
            run(one, (batch for batch in cut(X, Y)))
        assert one.history.epochs == 1

    def test_targets_of_another_kind_than_the_first(self):
        with pytest.raises(ValueError, match="targets of one kind"):
            run(trainer(), [*cut(X, Y)[:2], *cut(X, np.eye(3)[Y])[2:]])

    def test_a_run_of_another_number_of_batches(self):
        one = trainer()
        run(one, cut(X, Y), epochs=1)
        with pytest.raises(ValueError, match=f"expects x to give {STEPS} batches.* as in the run.*, got {STEPS - 1}"):
            run(one, cut(X, Y)[:-1], resume=True)


def test_probabilities_that_are_one_hot_by_chance_are_of_the_kind_of_the_others():
    mixed = np.full((ROWS, 3), 1 / 3)
    mixed[BATCH : 2 * BATCH] = np.eye(3)[Y[BATCH : 2 * BATCH]]
    assert list(run(trainer(), cut(X, mixed))[0]) == ["loss"]


def test_a_schedule_needs_the_number_of_batches():
    def scheduled(**more):
        optimizer = fastbp.Adam(fastbp.schedules.cosine(1e-2, warmup=0.2))
        return fastbp.Trainer(fastbp.mlp([FEATURES, 3], rng=0), optimizer=optimizer, **more)

    expected = run(scheduled(), X, Y, batch_size=BATCH, shuffle=False)
    assert run(scheduled(), cut(X, Y)) == expected
    assert run(scheduled(), Anew(cut(X, Y)), steps_per_epoch=STEPS) == expected
    assert run(scheduled(total_steps=2 * STEPS), Anew(cut(X, Y))) == expected
    one = scheduled()
    with pytest.raises(ValueError, match="fit expects steps_per_epoch, or x with a length, where a schedule"):
        run(one, Anew(cut(X, Y)))
    assert one.steps == 0
