"""Rows in blocks that are read while steps run: a run is that on the array of rows in its order, to the bit."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp.train import streamed
from fastbp.train.order import Layout, draw, rows_at

rng = np.random.default_rng(0)
ROWS, BATCH = 110, 8
X = rng.standard_normal((ROWS, 5)).astype(np.float32)
Y, WEIGHT = rng.integers(0, 3, ROWS), rng.uniform(0, 2, ROWS)
SIZES = np.array([9, 1, 30, 2, 17, 3, 40, 8])


class Cut(fastbp.Blocks):
    """Arrays cut into blocks of any sizes, which notes what is read."""

    def __init__(self, arrays, sizes=SIZES, window=3, fails=None):
        self.arrays, self.sizes, self.window, self.fails = arrays, np.asarray(sizes), window, fails
        self.read_blocks = []

    def read(self, block):
        self.read_blocks.append(block)
        if self.fails is not None and block == self.fails[0]:
            raise self.fails[1]
        first = int(self.sizes[:block].sum())
        return tuple(array[first : first + self.sizes[block]] for array in self.arrays)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [one for one in threading.enumerate() if one.name == "fastbp reads ahead"]


@pytest.fixture
def single_steps(monkeypatch):
    monkeypatch.setattr("fastbp._base.pace.CALL_SECONDS", 0.0)


def trainer(loss="softmax_cross_entropy", outputs=3, dropout=0.0):
    return fastbp.Trainer(fastbp.mlp([5, 6, outputs], dropout=dropout, rng=0), loss, fastbp.Adam(1e-2))


def reads_in_order(one, arrays, sizes, window, epochs, **options):
    """Make the same run on arrays of the rows in their order; return losses."""
    layout, generator = Layout(int(np.sum(sizes)), np.asarray(sizes), window), np.random.default_rng(4)
    losses = []
    for _ in range(epochs):
        rows = rows_at(layout, draw(layout, generator), range(layout.rows))
        x, y, *weight = (array[rows] for array in arrays)
        more = {"sample_weight": weight[0]} if weight else {}
        losses += one.fit(x, y, shuffle=False, progress=False, **more, **options)["loss"]
    return losses


def bits(one):
    return one.model._params.tobytes()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=9), st.integers(1, 10), st.integers(1, 40), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_a_streamed_run_is_the_run_on_its_rows(sizes, window, batch, drop_last, weighted):
    rows = sum(sizes)
    batch = min(batch, rows)
    arrays = (X, Y, WEIGHT)[: 2 + weighted]
    arrays = tuple(np.resize(array, (rows, *array.shape[1:])) for array in arrays)
    blocks, at_hand = trainer(), trainer()
    options = {"batch_size": batch, "drop_last": drop_last}
    history = blocks.fit(Cut(arrays, sizes, window), epochs=2, rng=4, progress=False, **options)
    assert history["loss"] == reads_in_order(at_hand, arrays, sizes, min(window, len(sizes)), 2, **options)
    assert blocks.steps == at_hand.steps
    assert bits(blocks) == bits(at_hand)


def squares(outputs, targets):
    d = outputs - targets
    return float((d**2).mean()), 2 * d / d.size


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("mse", X[:, :3].astype(np.float64)),
        ("softmax_cross_entropy", np.eye(3)[Y]),
        (fastbp.CrossEntropyLoss(weight=[1.0, 2.0, 0.5]), Y),
        (squares, X[:, :3]),
    ],
)
def test_targets_of_all_kinds_go_through_blocks(loss, y, single_steps):
    x = X.astype(np.float64)
    blocks, at_hand = trainer(loss), trainer(loss)
    history = blocks.fit(Cut((x, y)), epochs=2, batch_size=BATCH, rng=4, progress=False)
    assert history["loss"] == reads_in_order(at_hand, (x, y), SIZES, 3, 2, batch_size=BATCH)
    assert bits(blocks) == bits(at_hand)


def test_without_shuffle_it_is_the_run_on_the_arrays_as_they_stand():
    blocks, at_hand = trainer(dropout=0.3), trainer(dropout=0.3)
    for one, rows in ((blocks, (Cut((X, Y)),)), (at_hand, (X, Y))):
        one.fit(*rows, epochs=3, batch_size=BATCH, shuffle=False, rng=1, progress=False)
    assert bits(blocks) == bits(at_hand)


class Slow(Cut):
    def read(self, block):
        time.sleep(0.002 * (block % 3))
        return super().read(block)


def test_no_bit_depends_on_when_a_block_is_there():
    found = []
    for kind in (Cut, Slow):
        one = trainer(dropout=0.3)
        source = kind((X, Y))
        history = one.fit(
            source, epochs=2, batch_size=BATCH, rng=1, validation_data=source, metrics=["f1_macro"], progress=False
        )
        found.append([dict(history), bits(one)])
    assert found[0] == found[1]


def test_blocks_are_evaluated_as_their_rows_are():
    one = trainer()
    for metrics in ((), ["f1_macro", "log_loss"]):
        assert one.evaluate(Cut((X, Y, WEIGHT)), metrics=metrics) == one.evaluate(X, Y, WEIGHT, metrics=metrics)
    history = one.fit(X, Y, validation_data=Cut((X, Y)), rng=0, progress=False)
    assert one.evaluate(X, Y) == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}


class Saves(fastbp.Callback):
    every = 1

    def __init__(self, folder):
        self.folder, self.saved = folder, []

    def on_steps_end(self, trainer):
        self.saved.append(self.folder / str(trainer.steps))
        trainer.save_checkpoint(self.saved[-1])


@pytest.mark.parametrize("batch", [7, 50])
def test_a_run_goes_on_at_any_step_and_reads_no_window_again(batch, tmp_path):
    options = {"epochs": 2, "batch_size": batch, "rng": 4, "progress": False}
    whole, saves, source = trainer(dropout=0.3), Saves(tmp_path), Cut((X, Y))
    history = whole.fit(source, callbacks=[saves], **options)
    assert sorted(source.read_blocks) == [0, *sorted(2 * list(range(8)))]
    for path in saves.saved:
        resumed, source = fastbp.Trainer.load_checkpoint(path), Cut((X, Y))
        blocks, place = resumed._last_run.order, resumed._last_run.done * batch
        assert dict(resumed.fit(source, resume=True, **options)) == dict(history)
        assert bits(resumed) == bits(whole)
        if blocks.size and place < ROWS:
            ended = sum(np.cumsum(np.add.reduceat(SIZES[blocks], [0, 3, 6])) <= place)
            assert source.read_blocks[1 : 9 - 3 * ended] == blocks[3 * ended :].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [10, *SIZES[1:-1], 7]}, "block 0 of 9 rows as in the run that it resumes, got 10"),
        ({"sizes": [10, *SIZES[2:]]}, "blocks 8 as in the run that it resumes, got 7"),
        ({"window": 4}, "window 3 as in the run that it resumes, got 4"),
    ],
)
def test_other_blocks_than_those_of_the_run_are_refused(change, message):
    one = trainer()
    one.fit(Cut((X, Y)), batch_size=BATCH, progress=False)
    before = bits(one)
    with pytest.raises(ValueError, match=message):
        one.fit(Cut((X, Y), **change), epochs=2, batch_size=BATCH, resume=True, progress=False)
    with pytest.raises(ValueError, match="blocks 8 as in the run"):
        one.fit(X, Y, epochs=2, batch_size=BATCH, resume=True, progress=False)
    assert bits(one) == before


@pytest.mark.parametrize("key", ["window", "sizes", "order"])
def test_a_checkpoint_whose_blocks_do_not_fit_is_a_named_error(key, tmp_path):
    from fastbp.nn.modelfile import CHECKPOINT, read_tensors, write_tensors

    one = trainer()
    with pytest.raises(ArithmeticError):
        one.fit(Cut((X, Y)), batch_size=BATCH, callbacks=[Raises(ArithmeticError, 3)], progress=False)
    one.save_checkpoint(tmp_path / "c")
    header, tensors = read_tensors(tmp_path / "c", CHECKPOINT, "test")
    del header["sha256"]
    if key == "window":
        header["position"]["window"] = 0
    else:
        tensors[f"position.{key}"] = tensors[f"position.{key}"][:-1].copy()
    write_tensors(tmp_path / "c", CHECKPOINT, header, tensors)
    with pytest.raises(ValueError, match=r"c is damaged.*(blocks|rows|order)"):
        fastbp.Trainer.load_checkpoint(tmp_path / "c")


class Raises(fastbp.Callback):
    every = 1

    def __init__(self, error, step):
        self.error, self.step = error, step

    def on_steps_end(self, trainer):
        if trainer.steps == self.step:
            raise self.error


@pytest.mark.parametrize("step", [1, 5, 13])
@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
def test_after_an_exception_in_a_callback_the_run_goes_on(error, step):
    whole, cut = trainer(), trainer()
    whole.fit(Cut((X, Y)), epochs=2, batch_size=BATCH, rng=1, callbacks=[Raises(None, 0)], progress=False)
    source = Slow((X, Y))
    with pytest.raises(error):
        cut.fit(source, epochs=2, batch_size=BATCH, rng=1, callbacks=[Raises(error, step)], progress=False)
    assert cut.steps == step
    cut.fit(source, epochs=2, batch_size=BATCH, callbacks=[Raises(None, 0)], resume=True, progress=False)
    assert bits(cut) == bits(whole)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OSError("no disk"), OSError), (KeyError("no"), RuntimeError), (ValueError("no sense"), ValueError)],
)
def test_an_error_of_the_reading_thread_names_the_block_and_leaves_the_steps_before(error, kind):
    one, healthy, source = trainer(), trainer(), Cut((X, Y), fails=(4, error))
    with pytest.raises(kind, match=r"block 4: .*no") as caught:
        one.fit(source, batch_size=BATCH, rng=2, progress=False)
    assert caught.value.__cause__ is error
    assert source.read_blocks[-1] == 4
    source.fails = None
    healthy.fit(source, batch_size=BATCH, rng=2, progress=False)
    one.fit(source, batch_size=BATCH, resume=True, progress=False)
    assert bits(one) == bits(healthy)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_in_a_callback_trains_on_by_itself():
    """It has none of the threads of its parent, and what they were reading it reads anew."""

    class Forks(fastbp.Callback):
        every = 1
        child = None

        def on_steps_end(self, trainer):
            if trainer.steps == 3 and self.child is None:
                self.child = os.fork()

    whole, one, forks = trainer(), trainer(), Forks()
    whole.fit(Cut((X, Y)), epochs=2, batch_size=BATCH, rng=1, progress=False)
    receives, sends = os.pipe()
    try:
        one.fit(Slow((X, Y)), epochs=2, batch_size=BATCH, rng=1, callbacks=[forks], progress=False)
    finally:
        if forks.child == 0:
            os.write(sends, bits(one)[:1000])
            os._exit(0)
    assert os.waitpid(forks.child, 0)[1] == 0
    assert os.read(receives, 1000) == bits(one)[:1000] == bits(whole)[:1000]
    os.close(sends), os.close(receives)


def test_ctrl_c_while_a_block_is_awaited_ends_the_fit_and_the_thread():
    class Waits(Cut):
        def read(self, block):
            if threading.current_thread() is not threading.main_thread():
                if block == 2:
                    os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
            return super().read(block)

    one, whole = trainer(), trainer()
    with pytest.raises(KeyboardInterrupt):
        one.fit(Waits((X, Y)), batch_size=BATCH, shuffle=False, progress=False)
    whole.fit(Cut((X, Y)), batch_size=BATCH, shuffle=False, progress=False)
    one.fit(Cut((X, Y)), batch_size=BATCH, shuffle=False, resume=True, progress=False)
    assert bits(one) == bits(whole)


def test_a_step_whose_loss_is_not_finite_names_the_row_of_the_source():
    x = X.copy()
    x[77, 2] = np.nan
    with pytest.raises(fastbp.NotFiniteError, match="row 77") as caught:
        trainer().fit(Cut((x, Y)), batch_size=BATCH, rng=3, progress=False)
    assert caught.value.rows.tolist() == [77]


class TestErrors:
    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            ({"y": Y}, ValueError, "no y with blocks"),
            ({"sample_weight": WEIGHT}, ValueError, "no sample_weight with blocks"),
            ({"validation_split": 0.1}, ValueError, "no validation_split with blocks"),
            ({"steps_per_epoch": 3}, ValueError, "no steps_per_epoch with blocks"),
            ({"batch_size": 200, "drop_last": True}, ValueError, "a whole batch of 200 rows, got 110 rows"),
        ],
    )
    def test_what_blocks_leave_nothing_to(self, given, error, message):
        one = trainer()
        with pytest.raises(error, match=message):
            one.fit(Cut((X, Y)), progress=False, **given)
        with pytest.raises(ValueError, match="no y and no sample_weight with blocks"):
            one.evaluate(Cut((X, Y)), Y)
        assert one.steps == 0

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [([], "sizes of Cut"), ([3, 0], "sizes of Cut"), ([2.5], "sizes of Cut"), ([[1, 2]], "sizes of Cut")],
    )
    def test_sizes_that_are_none(self, sizes, message):
        with pytest.raises(ValueError, match=message):
            trainer().fit(Cut((X, Y), sizes), progress=False)

    def test_a_window_that_is_none(self):
        with pytest.raises(ValueError, match="window of at least 1, got 0"):
            trainer().fit(Cut((X, Y), window=0), progress=False)

    def test_a_source_that_does_not_read(self):
        class Empty(fastbp.Blocks):
            sizes = SIZES

        with pytest.raises(RuntimeError, match="block 0"):
            trainer().fit(Empty(), progress=False)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x, y: (x[:-1], y[:-1]), "block 4: expected 17 rows, as sizes says, got 16"),
            (lambda x, y: (x[:, :3], y), r"block 4: Trainer expects x of shape \(batch, 5\), got \(17, 3\)"),
            (lambda x, y: (x, np.full(17, 5)), r"block 4: .*targets in 0..2 .*got 5 in row 0"),
            (lambda x, y: (x, y, np.ones(17)), "block 4: expected arrays as in the first block"),
            (lambda x, y: (x, np.full((17, 3), 0.3)), "block 4: .*targets of one kind"),
            (lambda x, y: x, r"block 4: expected read to return rows \(x, y\)"),
        ],
    )
    def test_a_block_that_is_not_as_the_first(self, change, message):
        class Odd(Cut):
            def read(self, block):
                given = super().read(block)
                return given if block != 4 else change(*given)

        with pytest.raises((ValueError, TypeError), match=message):
            trainer().fit(Odd((X, Y)), batch_size=BATCH, progress=False)

    def test_sparse_blocks(self):
        x = pytest.importorskip("scipy.sparse").csr_array(X)
        with pytest.raises(TypeError, match=r"block 0: .*a sparse matrix"):
            trainer().fit(Cut((x, Y)), progress=False)

    def test_batches_that_end_with_one_row_for_batch_norm(self):
        one = fastbp.Trainer(fastbp.mlp([5, 6, 3], norm="batch_norm", rng=0))
        with pytest.raises(ValueError, match="110 rows in batches of 109 end with one of 1"):
            one.fit(Cut((X, Y)), batch_size=109, progress=False)


def test_a_window_holds_so_many_bytes_where_the_source_does_not_say(monkeypatch):
    monkeypatch.setattr(streamed, "WINDOW_BYTES", 40 * (5 * 4 + 8))  # of 40 rows
    one = trainer()
    one.fit(Cut((X, Y), window=None), batch_size=BATCH, progress=False)
    assert one._last_run.window == int(40 / (110 / 8))


class TestArrayBlocks:
    def test_blocks_are_the_rows_of_the_arrays(self, tmp_path):
        np.save(tmp_path / "x.npy", X)
        for x in (X, np.load(tmp_path / "x.npy", mmap_mode="r")):
            source = fastbp.ArrayBlocks(x, Y, WEIGHT, rows=32)
            assert source.sizes.tolist() == [32, 32, 32, 14]
            one, other = trainer(), trainer()
            one.fit(source, batch_size=BATCH, shuffle=False, rng=1, progress=False)
            other.fit(X, Y, sample_weight=WEIGHT, batch_size=BATCH, shuffle=False, rng=1, progress=False)
            assert bits(one) == bits(other)
        assert source.name(3) == "rows 96 to 109"

    def test_memory_maps_that_are_addressed_have_the_order_of_arrays(self, tmp_path):
        np.save(tmp_path / "x.npy", X)
        one, other = trainer(), trainer()
        one.fit(np.load(tmp_path / "x.npy", mmap_mode="r"), Y, rng=1, progress=False)
        other.fit(X, Y, rng=1, progress=False)
        assert bits(one) == bits(other)

    @pytest.mark.parametrize(
        ("arrays", "options", "message"),
        [
            ((X, Y[:-1]), {}, r"as many rows each, at least one, got \[110, 109\]"),
            ((X[:0], Y[:0]), {}, r"got \[0, 0\]"),
            ((X, Y), {"rows": 0}, "rows of at least 1"),
            ((X, Y), {"window": 0}, "window of at least 1"),
        ],
    )
    def test_errors(self, arrays, options, message):
        with pytest.raises(ValueError, match=message):
            fastbp.ArrayBlocks(*arrays, **options)
