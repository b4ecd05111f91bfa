"""Training on a sparse matrix: every step, run and evaluation is that of the dense array, to the bit."""

import os
import threading

import numpy as np
import pytest

import fastbp

sp = pytest.importorskip("scipy.sparse")
ROWS, FEATURES = 300, 60
X = sp.random(ROWS, FEATURES, 0.1, format="csr", random_state=0, dtype=np.float32)
DENSE = X.toarray()
Y = np.random.default_rng(0).integers(0, 4, ROWS)


def trainer(*sizes, loss="softmax_cross_entropy", dtype="float32", activation="relu", **more):
    model = fastbp.mlp([FEATURES, *(sizes or (20,)), 4], activation, dtype=dtype, rng=0)
    return fastbp.Trainer(model, loss, fastbp.Adam(1e-2), **more)


def same(one, other):
    """Whether two trainers have the same parameters and moments, but for the sign of zeros."""
    return np.array_equal(one.model._params, other.model._params) and np.array_equal(one._state, other._state)


def squares(outputs, targets):
    d = outputs - targets
    return float((d**2).mean()), 2 * d / d.size


@pytest.mark.parametrize(
    "make",
    [
        lambda: trainer(),
        lambda: trainer(500, 30, activation="gelu"),
        lambda: trainer(dtype="float64", clip_norm=0.1),
        lambda: trainer(clip_value=0.01, loss=fastbp.CrossEntropyLoss(label_smoothing=0.1)),
        lambda: trainer(loss="mse"),
        lambda: trainer(loss=squares),
    ],
    ids=["small", "op after op", "clipped by the norm", "clipped by value", "mse", "a loss in NumPy"],
)
def test_steps_fits_and_evaluations_are_the_dense_ones(make):
    one, other = make(), make()
    y = Y if one.loss.__class__.__name__ == "CrossEntropyLoss" else np.eye(4, dtype=np.float32)[Y]
    for given in (X, X.tocsc(), X.astype(np.float64)):
        assert one.step(DENSE, y) == other.step(given, y)
    if one.loss.__class__.__name__ != "FunctionLoss":  # which takes no weights
        weight = np.random.default_rng(1).random(50)
        assert one.step(DENSE[:50], y[:50], weight) == other.step(X[:50], y[:50], weight)
    histories = [
        t.fit(given, y, epochs=2, batch_size=64, rng=1, validation_data=(given, y), progress=False)
        for t, given in ((one, DENSE), (other, X))
    ]
    assert histories[0]["loss"] == histories[1]["loss"]
    assert histories[0]["val_loss"] == histories[1]["val_loss"]
    assert one.evaluate(DENSE, y) == other.evaluate(X, y)
    assert same(one, other)


def test_sparse_and_dense_batches_take_turns():
    one, other = trainer(), trainer()
    for i in range(6):
        rows = slice(0, 40 + 10 * i)
        assert one.step(DENSE[rows], Y[rows]) == other.step((X if i % 3 else DENSE)[rows], Y[rows])
    assert same(one, other)


def test_the_phases_by_hand_are_those_of_a_step():
    one, other = trainer(), trainer()
    out = other.forward(X)
    np.testing.assert_array_equal(out, one.forward(DENSE))
    _, dout = fastbp.softmax_cross_entropy(out, Y)
    with pytest.raises(ValueError, match="no input_gradient after a sparse x"):
        other.backward(dout, input_gradient=True)
    assert other.backward(dout) is None
    other.update()
    one.step(DENSE, Y)
    assert same(one, other)


def test_a_run_goes_on_from_a_checkpoint(tmp_path):
    class Save(fastbp.Callback):
        every = 3

        def on_steps_end(self, trainer):
            if trainer.steps == 6:
                trainer.save_checkpoint(tmp_path / "run")

    whole = trainer()
    whole.fit(X, Y, epochs=3, batch_size=64, rng=1, progress=False, callbacks=[Save()])
    resumed = fastbp.Trainer.load_checkpoint(tmp_path / "run")
    resumed.fit(X, Y, epochs=3, batch_size=64, resume=True, progress=False, callbacks=[Save()])
    assert resumed.steps == whole.steps
    assert same(resumed, whole)


def test_threads_change_no_bit():
    before, found = fastbp.get_num_threads(), []
    try:
        for threads in (1, before):
            fastbp.set_num_threads(threads)
            one = trainer(3000)
            one.fit(X, Y, epochs=2, batch_size=150, rng=1, progress=False)
            found.append((one.model._params.tobytes(), one.model.predict(X).tobytes()))
    finally:
        fastbp.set_num_threads(before)
    assert found[0] == found[1]


def test_threads_may_predict_at_once():
    model, results = trainer().model, []
    matrices = [X[i * 30 : (i + 1) * 30] for i in range(8)]
    threads = [threading.Thread(target=lambda m=m: results.append((m, model.predict(m)))) for m in matrices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for rows, found in results:
        np.testing.assert_array_equal(found, model.predict(rows.toarray()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_trains_on_it():
    one, other = trainer(), trainer()
    one.step(X, Y)
    other.step(X, Y)
    expected, child = other.step(X, Y), os.fork()
    if child == 0:
        os._exit(one.step(X, Y) != expected)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_rows_with_an_ignored_label_count_for_nothing_though_they_are_nan():
    rows, y = X.copy(), Y.copy()
    y[[2, 7]] = -100
    rows.data[rows.indptr[2] : rows.indptr[3]] = np.nan
    one, other = trainer(), trainer()
    assert one.step(DENSE, y) == other.step(rows, y)
    one.fit(DENSE, y, rng=0, progress=False)
    other.fit(rows, y, rng=0, progress=False)
    assert same(one, other)


def test_a_number_that_is_not_finite_ends_a_fit_and_is_named():
    rows = X.copy()
    row = int(np.flatnonzero(np.diff(rows.indptr))[5])
    rows.data[rows.indptr[row]] = np.inf
    one = trainer()
    with pytest.raises(fastbp.NotFiniteError, match=rf"Not finite: x in row {row}\.") as error:
        one.fit(rows, Y, shuffle=False, batch_size=ROWS, progress=False)
    assert error.value.rows.tolist() == [row]
    assert one.steps == 0


def test_what_is_not_stored_meets_no_weight():
    """In a dense product 0 times an infinite weight is NaN."""
    model = fastbp.mlp([3, 2], rng=0)
    model[0].weight[:, 1] = np.inf
    x = sp.csr_matrix(np.array([[1.0, 0.0, 2.0]]))
    assert np.isfinite(model.predict(x)).all()
    assert np.isnan(model.predict(x.toarray())).all()


def test_nothing_as_large_as_the_dense_matrix_is_kept():
    """A million columns of a narrow layer, a few numbers a row: the dense batch would take 800 MB."""
    import tracemalloc

    features = 1_000_000
    rows = sp.csr_matrix((np.ones(400), (np.repeat(np.arange(200), 2), np.arange(400) * 2400)), (200, features))
    one = fastbp.Trainer(fastbp.mlp([features, 1], rng=0), "mse", fastbp.SGD(0.1))
    y = np.zeros((200, 1))
    one.step(rows, y)  # room for the plan
    tracemalloc.start()
    one.step(rows, y)
    one.model.predict(rows)
    one.fit(rows, y, batch_size=50, progress=False)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1e6


@pytest.mark.parametrize("column", [-(10**6), 10**9, 0])
@pytest.mark.parametrize("at", ["epoch", "step"])
def test_columns_that_a_callback_spoils_end_a_fit_before_they_are_read(column, at):
    class Spoil(fastbp.Callback):
        every = 1

        def on_epoch_end(self, *_):
            x.indices[:] = column

    if at == "step":
        Spoil.on_steps_end = Spoil.on_epoch_end
    x, one = X.copy(), trainer()
    with pytest.raises(ValueError, match="expects x as it was: the columns of its stored numbers"):
        one.fit(x, Y, epochs=3, batch_size=16, rng=0, callbacks=[Spoil()], progress=False)
    assert one.history.epochs == (at == "epoch")
    one.fit(X, Y, epochs=3, batch_size=16, resume=True, progress=False)
    other = trainer()
    other.fit(X, Y, epochs=3, batch_size=16, rng=0, progress=False)
    assert same(one, other)


def test_columns_that_are_spoiled_between_two_passes_end_the_second():
    x, one = X.copy(), trainer()
    out = one.forward(x)
    x.indices[0] = -(10**6)
    with pytest.raises(ValueError, match=r"Trainer\.backward expects x as it was"):
        one.backward(out)
    x = X.copy()

    def spoils(outputs, targets):
        x.indices[:] = 10**9
        return squares(outputs, targets)

    with pytest.raises(ValueError, match="fit expects x as it was"):
        trainer(loss=spoils).fit(x, np.eye(4)[Y], batch_size=64, shuffle=False, progress=False)


def test_layers_that_prediction_skips_do_not_keep_a_sparse_matrix_from_being_evaluated():
    def make():
        layers = fastbp.Dropout(0.5), fastbp.Dense(FEATURES, 8, "relu", rng=0), fastbp.Dense(8, 4, rng=1)
        return fastbp.Trainer(fastbp.Sequential(*layers), rng=0)

    one = make()
    assert one.evaluate(X, Y) == one.evaluate(DENSE, Y)
    histories = [make().fit(DENSE, Y, rng=1, validation_data=(given, Y), progress=False) for given in (X, DENSE)]
    assert histories[0]["val_loss"] == histories[1]["val_loss"]
    for call in (one.step, one.fit):
        with pytest.raises(TypeError, match="read by other layers than Dense"):
            call(X, Y)
