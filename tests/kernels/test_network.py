"""Whole networks in one call: against the twin, and independent of tasks, gathering and what the workspace held."""

import copy

import numba
import numpy as np
import pytest

from fastbp.kernels import entries as network
from fastbp.kernels import losses, reference
from fastbp.kernels import optimizers as updates
from fastbp.kernels.activations import CODES, IDENTITY, RELU
from fastbp.kernels.compile.pointers import at
from fastbp.kernels.run import frame, passes, plan
from fastbp.kernels.run.chunks import CHUNK_ROWS, ROWS_AT_ONCE
from fastbp.kernels.run.predict import predict
from tests.kernels.loss_problems import class_weight_of, options_of

# (in_features, out_features, activation, bias) of each layer
PLANS = {
    "one layer": [(5, 3, "identity", True)],
    "one layer, no bias, output activation": [(7, 4, "sigmoid", False)],
    "two layers": [(5, 17, "relu", True), (17, 4, "identity", True)],
    "two layers, no bias": [(6, 33, "tanh", False), (33, 2, "identity", False)],
    "three layers, a bias in one": [(4, 20, "gelu", False), (20, 9, "leaky_relu", True), (9, 6, "softplus", False)],
    "four layers": [(9, 16, "silu", True), (16, 48, "elu", True), (48, 5, "relu", True), (5, 8, "tanh", True)],
    "four layers, one feature": [
        (1, 1, "gelu_tanh", True),
        (1, 65, "relu", True),
        (65, 1, "elu", True),
        (1, 2, "identity", True),
    ],
}
EACH_PLAN = pytest.mark.parametrize(
    "layers", [[(i, o, CODES[g], bias) for i, o, g, bias in rows] for rows in PLANS.values()], ids=PLANS.keys()
)
OPTIMIZERS = updates.CODES
LOSSES = {name: loss.code for name, loss in losses.LOSSES.items() if loss.code != losses.SOFTMAX_ONE_HOT}
RESULTS = ["params", "grads", "state", "hyper", "record"]
TWO_LAYERS = [(5, 17, CODES["tanh"], True), (17, 4, CODES["identity"], True)]


def assert_same_bits(one, other):
    for name in RESULTS:
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


def assert_close(found, exact, rtol):
    for name in RESULTS:
        largest = np.abs(getattr(exact, name)).max(initial=0)
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), rtol=rtol, atol=rtol * largest)


# float64 against the float64 twin: sums of up to 65 terms through four layers forward and back, over three steps,
# differ by some 1e-14; an optimizer that divides by the root of a small squared gradient magnifies that by up to
# 1 / eps = 1e3.
RTOL = 1e-10


@EACH_PLAN
def test_training_equals_its_twin(layers, training):
    problem = training(layers, np.float64)
    assert_close(problem.run(network), problem.run(reference), RTOL)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_every_optimizer_equals_its_twin(optimizer, training):
    for averages in (False, True):
        problem = training(TWO_LAYERS, np.float64, optimizer=optimizer, averages=averages)
        assert_close(problem.run(network), problem.run(reference), RTOL)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("weighted", [False, True])
def test_every_loss_equals_its_twin(loss, weighted, training):
    problem = training(TWO_LAYERS, np.float64, loss=loss)
    if weighted:
        rng = np.random.default_rng(0)
        problem.sample_weight = rng.uniform(0.1, 2, len(problem.x))
        entry = losses.BY_CODE[loss]
        problem.class_weight = class_weight_of(entry, rng, 4)
        problem.options = options_of(entry, smoothing=0.1, constant=0.0)
        if problem.labels.size:
            problem.labels[3] = -100
    assert_close(problem.run(network), problem.run(reference), RTOL)


@EACH_PLAN
def test_prediction_equals_its_twin(layers, training, dtype):
    problem = training(layers, dtype)
    found = problem.predict(network)
    problem.params, problem.x = problem.params.astype(np.float64), problem.x.astype(np.float64)
    exact = problem.predict(reference)
    # at most (K + 2) units a layer of sums of K terms of size 1, K <= 65, and 16 for g, through four layers
    bound = 4 * (67 * 65 + 16) * np.finfo(dtype).eps / 2
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


@EACH_PLAN
def test_bits_do_not_depend_on_tasks(layers, training):
    problem = training(layers, np.float32)
    alone, predicted = problem.run(network), problem.predict(network)
    for tasks in (2, 3, 7, 16):
        assert_same_bits(problem.run(network, tasks), alone)
        assert problem.predict(network, tasks).tobytes() == predicted.tobytes()


# In chunks, summed apart; some of the gradients over chunk after chunk; one of those with few columns
IN_CHUNKS = [
    TWO_LAYERS,
    [(300, 60, CODES["tanh"], True), (60, 50, RELU, False), (50, 4, IDENTITY, True)],
    [(4100, 4, IDENTITY, True)],
]


@pytest.mark.parametrize("layers", IN_CHUNKS)
def test_bits_of_a_chunked_weight_gradient_do_not_depend_on_tasks(layers, training):
    samples = 5 * CHUNK_ROWS + 11
    problem = training(layers, np.float32, samples=samples, batch=samples)
    alone = problem.run(network)
    for tasks in (2, 3, 7, 16, 40):  # so many that two chunks go together, or all four
        assert_same_bits(problem.run(network, tasks), alone)
    exact = training(layers, np.float64, samples=samples, batch=samples)
    assert_close(exact.run(network), exact.run(reference), RTOL)


@EACH_PLAN
def test_by_rows_and_layer_after_layer_give_the_same_bits(layers, training, monkeypatch):
    small = training(layers, np.float32)
    assert small.layout[plan.BY_ROWS]
    monkeypatch.setattr(plan, "SMALL", -1)
    large = training(layers, np.float32)
    assert not large.layout[plan.BY_ROWS]
    for tasks in (1, 3):
        assert_same_bits(large.run(network, tasks), small.run(network))


@pytest.mark.parametrize("loss", [losses.SOFTMAX_LABELS, losses.MSE])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("layers", IN_CHUNKS)
def test_a_few_rows_at_a_time_give_the_bits_of_layer_after_layer(layers, loss, ordered, training, monkeypatch):
    def run(tasks):
        samples = 5 * CHUNK_ROWS + 3
        problem = training(layers, np.float32, loss=loss, samples=samples, batch=samples)
        problem.labels[::7] = -100
        problem.sample_weight = np.random.default_rng(0).uniform(0.1, 2, samples).astype(np.float32)
        problem.order = problem.order if ordered else problem.order[:0]
        assert problem.layout[plan.BY_ROWS] == (plan.SMALL > 0)
        return problem.run(network, tasks)

    few = run(1)
    assert_same_bits(run(3), few)
    monkeypatch.setattr(plan, "SMALL", -1)
    assert_same_bits(run(1), few)


@numba.njit
def pieces_of(table, batch, tasks):
    frame = at(table, 0)
    return passes.worth_sharing(frame, batch, passes.sums_apart(frame, batch), tasks)


def pieces(problem, batch, tasks):
    return pieces_of(problem.frame().addresses(), batch, tasks)


# Two that are worth sharing out. The weight gradients of the second are summed in chunks.
@pytest.mark.parametrize(
    ("layers", "batch"),
    [([(300, 100, CODES["tanh"], True), (100, 10, RELU, False), (10, 5, IDENTITY, True)], 611),
     ([(20, 100, CODES["tanh"], True), (100, 40, RELU, True), (40, 5, IDENTITY, True)], 4 * CHUNK_ROWS + 3)],
)  # fmt: skip
def test_bits_of_what_is_shared_out_do_not_depend_on_tasks(layers, batch, training):
    problem = training(layers, np.float32, samples=batch + 40, batch=batch)
    problem.labels[::7] = -100
    problem.sample_weight = np.random.default_rng(0).uniform(0.1, 2, batch + 40).astype(np.float32)
    alone = problem.run(network)
    for tasks in (2, 3, 7, 16):
        assert 1 < pieces(problem, batch, tasks) <= tasks
        assert_same_bits(problem.run(network, tasks), alone)
    numbers = training(layers, np.float32, loss=losses.MSE, samples=batch, batch=batch)
    assert_same_bits(numbers.run(network, 3), numbers.run(network))
    numbers.order = numbers.order[:0]
    assert_same_bits(numbers.run(network, 3), numbers.run(network))


def test_each_piece_has_a_place_of_its_own_for_a_few_rows(training):
    batch, pieces_asked = 4 * CHUNK_ROWS + 3, 2
    problem = training([(20, 100, CODES["tanh"], True), (100, 40, RELU, True)], np.float32, samples=batch, batch=batch)
    assert pieces(problem, batch, pieces_asked) == pieces_asked
    work = problem.run(network, pieces_asked).work
    for row in problem.plan:
        start, ld = row[plan.A] // work.itemsize, row[plan.LD]
        used = ~np.isnan(work[start : start + batch * ld].reshape(batch, ld)[:, 0])
        assert used[: pieces_asked * ROWS_AT_ONCE].sum() > (pieces_asked - 0.5) * ROWS_AT_ONCE
        assert not used[pieces_asked * ROWS_AT_ONCE :].any()


@numba.njit
def together(batch, chunks, tasks):
    return passes.chunks_at_once(batch, chunks, tasks)


def test_many_pieces_take_several_chunks_at_once():
    assert [together(5 * CHUNK_ROWS + 11, 4, tasks) for tasks in (1, 2, 8, 16, 40, 100)] == [1, 1, 1, 2, 4, 4]


def test_little_is_shared_out_where_cores_would_take_more_from_each_other(training):
    narrow = training([(10, 46, RELU, True), (46, 46, RELU, True), (46, 10, IDENTITY, True)], np.float32)
    wide = training([(784, 128, RELU, True), (128, 10, IDENTITY, True)], np.float32)
    assert pieces(narrow, 128, 2) == 1  # two million operations a step, and 30 000 numbers to exchange
    assert pieces(wide, 8, 2) == 1  # not so much either
    square = training([(512, 512, RELU, True), (512, 10, IDENTITY, True)], np.float32)
    assert [pieces(square, batch, 2) for batch in (7, 32)] == [1, 2]  # 7 rows repay no half of the weights
    assert pieces(wide, 128, 2) == 2


@EACH_PLAN
def test_a_row_is_predicted_alike_in_any_batch(layers, training):
    problem = training(layers, np.float32)
    together = problem.predict(network)
    x = problem.x
    for rows in (slice(0, 1), slice(4, 11), slice(22, 23)):
        problem.x = np.ascontiguousarray(x[rows])
        assert problem.predict(network).tobytes() == together[rows].tobytes()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("weighted", [False, True])
def test_a_gathered_batch_trains_like_the_same_rows_in_place(loss, weighted, training):
    gathered = training(TWO_LAYERS, np.float32, loss=loss, samples=20, batch=20)
    if weighted:
        gathered.sample_weight = np.random.default_rng(0).uniform(0.1, 2, 20).astype(np.float32)
    placed = training(TWO_LAYERS, np.float32, loss=loss, samples=20, batch=20)
    rows = placed.order
    placed.x = placed.x[rows]
    placed.labels = placed.labels[rows] if placed.labels.size else placed.labels
    placed.targets = placed.targets[rows] if placed.targets.size else placed.targets
    placed.sample_weight = gathered.sample_weight[rows] if weighted else gathered.sample_weight
    placed.order = rows[:0]
    assert_same_bits(placed.run(network), gathered.run(network))


def test_steps_in_two_calls_are_the_steps_in_one(training):
    whole = training(TWO_LAYERS, np.float32, optimizer=updates.ADAM)
    assert whole.record.shape == (4, 3)
    parts = training(TWO_LAYERS, np.float32, optimizer=updates.ADAM)
    parts.settings[frame.LAST_STEP] = 1
    parts = parts.run(network)
    parts.settings[[frame.FIRST_STEP, frame.LAST_STEP]] = 1, 3
    assert_same_bits(parts.run(network), whole.run(network))


@pytest.mark.parametrize("loss", [losses.SOFTMAX_LABELS, losses.MSE])
def test_a_step_without_an_order_is_one_step_whatever_steps_are_set(loss, training):
    """Its record has one column; what stands behind it stays."""
    problem = training(TWO_LAYERS, np.float32, loss=loss, samples=9, batch=9)
    problem.order = problem.order[:0]
    expected = problem.run(network)
    single = network.train_on_targets if loss == losses.MSE else network.train_on_labels
    for steps in [(0, 1), (0, 0), (3, 3), (1, 4), (0, 7), (5, 12), (-2, 3)]:
        for run in (network.train_steps, single):
            p = copy.deepcopy(problem)
            p.settings[[frame.BATCH, frame.FIRST_STEP, frame.LAST_STEP]] = 2, *steps
            room = np.full(32, -7.0)
            p.record = room[8 : 8 + frame.RECORD_ROWS].reshape(-1, 1)
            table = p.frame().addresses()
            if run is single:
                run(table, p.x, p.targets if loss == losses.MSE else p.labels)
            else:
                run(table, p.x, p.labels, p.targets, p.sample_weight, p.order, p.record)
            assert (np.delete(room, range(8, 8 + frame.RECORD_ROWS)) == -7).all()
            p.record = p.record[:2] if loss == losses.MSE else p.record
            expected.record = expected.record[: len(p.record)]
            assert_same_bits(p, expected)


def test_no_step_is_made_outside_the_record(training):
    problem = training(TWO_LAYERS, np.float32)
    expected = problem.run(network)
    problem.settings[[frame.FIRST_STEP, frame.LAST_STEP]] = -3, 1000
    assert_same_bits(problem.run(network), expected)
    problem.settings[[frame.FIRST_STEP, frame.LAST_STEP]] = 3, 1000
    assert problem.run(network).params.tobytes() == problem.params.tobytes()


# How a step's update follows its losses: in chunks summed apart, chunk after chunk, in one chunk, layer after layer
WAYS = [
    (TWO_LAYERS, 2 * CHUNK_ROWS + 9, True),
    (IN_CHUNKS[1], 2 * CHUNK_ROWS + 9, True),
    (IN_CHUNKS[1], 4 * CHUNK_ROWS, True),
    (TWO_LAYERS, 13, True),
    (TWO_LAYERS, 13, False),
    (IN_CHUNKS[1], 2 * CHUNK_ROWS + 9, False),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("layers", "batch", "by_rows"), WAYS)
def test_a_loss_that_is_not_finite_ends_steps_before_its_update(layers, batch, by_rows, seed, training, monkeypatch):
    rng = np.random.default_rng(seed)
    if not by_rows:
        monkeypatch.setattr(plan, "SMALL", -1)
    samples = 3 * batch - int(rng.integers(batch))
    options = {"loss": rng.choice(list(LOSSES.values())), "optimizer": rng.choice(list(OPTIMIZERS.values()))}
    problem = training(layers, np.float64, samples=samples, batch=batch, seed=seed, **options)
    problem.params *= 0.1
    assert (problem.layout[plan.BY_ROWS] != 0) == by_rows
    place = int(rng.integers(samples))
    bad, row = place // batch, problem.order[place]
    problem.record[:] = -5
    problem.settings[frame.LAST_STEP] = bad
    expected = problem.run(network)
    problem.settings[[frame.LAST_STEP, frame.FINITE]] = 3, 1
    problem.x[row, rng.integers(problem.x.shape[1])] = rng.choice([np.nan, np.inf])
    if np.isinf(problem.x[row]).any():  # an activation may make it finite
        problem.x[row] = np.nan
    for tasks in (1, 3):
        ended = problem.run(network, tasks)
        for name in ("params", "state", "hyper", "record"):
            assert getattr(ended, name).tobytes() == getattr(expected, name).tobytes(), name
        wrong = ~np.isfinite(ended.rows[0] * ended.rows[1])[: min(batch, samples - bad * batch)]
        assert np.flatnonzero(wrong).tolist() == [place % batch]
    with np.errstate(invalid="ignore"):
        twin = problem.run(reference)
    for name in ("params", "state", "hyper", "record"):
        exact = getattr(twin, name)
        tolerance = {"rtol": RTOL, "atol": RTOL * np.abs(exact).max(initial=0)}
        np.testing.assert_allclose(getattr(expected, name), exact, **tolerance)
    problem.settings[frame.FINITE] = 0
    assert not np.isfinite(problem.run(network).params).all()


def test_where_no_row_counts_or_a_bad_row_is_ignored_steps_go_on(training):
    problem = training(TWO_LAYERS, np.float32)
    problem.settings[frame.FINITE] = 1
    problem.labels[problem.order[:8]] = -100
    problem.labels[problem.order[12]] = -100
    problem.x[problem.order[[1, 12]]] = np.nan
    result = problem.run(network)
    assert np.isfinite(result.params).all()
    assert np.isfinite(result.record[0]).tolist() == [False, True, True]


def test_a_label_that_is_wrong_ends_steps_before_its_own(training):
    for place in (0, 7, 8, 15, 20):
        problem = training(TWO_LAYERS, np.float32)
        expected = copy.deepcopy(problem)
        expected.settings[frame.LAST_STEP] = place // 8
        expected = expected.run(network)
        row = problem.order[place]
        problem.labels[row] = 10**9 if place % 2 else -1
        table = problem.frame().addresses()
        arguments = problem.x, problem.labels, problem.targets, problem.sample_weight, problem.order, problem.record
        assert network.train_steps(table, *arguments) == row
        assert_same_bits(problem, expected)


@EACH_PLAN
def test_what_the_workspace_held_does_not_matter(layers, training):
    problem = training(layers, np.float32)
    assert np.isnan(problem.work).all()
    after_nan = problem.run(network)
    problem.work[:] = 1.5
    problem.rows[:] = 0
    assert_same_bits(problem.run(network), after_nan)
    assert np.isfinite(after_nan.params).all()
    assert np.isfinite(after_nan.record).all()


@pytest.mark.jit
def test_five_architectures_share_one_compiled_training_step(training):
    architectures = list(PLANS.values())[:5]
    counts = []
    for rows in architectures:
        problem = training([(i, o, CODES[g], bias) for i, o, g, bias in rows], np.float32)
        before = problem.params.copy()
        trained = problem.run(network)
        trained.predict(network)
        assert (trained.params != before).any()
        counts.append((len(network.train_steps.signatures), len(predict.signatures)))
    assert len(set(counts)) == 1


def test_training_lowers_the_loss(training):
    problem = training(TWO_LAYERS, np.float32, optimizer=updates.ADAM)
    problem.hyper[updates.WEIGHT_DECAY] = 0
    first = problem.run(network)
    result = first
    for _ in range(30):
        result = result.run(network)
    assert result.record[0].mean() < 0.5 * first.record[0].mean()
