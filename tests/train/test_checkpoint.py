"""Checkpoints: a run goes on from anywhere to the same bits, and a damaged file is an error with a name."""

import json
import pickle

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import fastbp
from fastbp.kernels.optimizers import FIRST_POWER
from fastbp.nn import losses
from fastbp.nn.modelfile import CHECKPOINT, read_tensors, write_tensors
from fastbp.train import optimizers
from tests.kernels.loss_problems import targets_of

ROWS, BATCH = 22, 5  # five steps an epoch, the last one smaller


def arrays(trainer):
    # The other numbers of `hyper` are the optimizer's, which are compared too.
    return {"params": trainer.model._params, "state": trainer._state, "powers": trainer._hyper[FIRST_POWER:]}


def assert_same(one, other):
    """Parameters, optimizer, steps and history, bit for bit."""
    for name, array in arrays(one).items():
        assert array.tobytes() == arrays(other)[name].tobytes(), name
    assert one.steps == other.steps
    assert one.optimizer == other.optimizer
    assert same_history(one.history, other.history)


def same_history(one, other):
    return repr(dict(one)) == repr(dict(other)) and one.epochs == other.epochs  # NaN too


def make_trainer(loss="softmax_cross_entropy", optimizer=None, dtype="float32"):
    return fastbp.Trainer(fastbp.mlp([4, 6, 3], "tanh", dtype=dtype, rng=0), loss, optimizer or fastbp.Adam(0.01))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    return rng.standard_normal((ROWS, 4)), rng.integers(0, 3, ROWS)


class Halve(fastbp.Callback):
    def on_epoch_end(self, trainer, epoch, figures):
        trainer.optimizer.lr /= 2


class SaveSteps(fastbp.Callback):
    """Saves at the end of each step; with a limit on the length of calls that is each single step."""

    def __init__(self, folder):
        self.folder = folder
        self.saved = []

    def on_steps_end(self, trainer):
        path = self.folder / str(trainer.steps)
        trainer.save_checkpoint(path)
        self.saved.append(path)

    def on_epoch_end(self, trainer, epoch, figures):
        path = self.folder / f"epoch {epoch}"
        trainer.save_checkpoint(path)
        self.saved.append(path)


@pytest.fixture
def single_steps(monkeypatch):
    monkeypatch.setattr("fastbp._base.pace.CALL_SECONDS", 0.0)


CASES = {
    "adam": (None, fastbp.Adam, "labels"),
    "nesterov": (None, lambda: fastbp.SGD(0.05, momentum=0.9, nesterov=True), "labels"),
    "rmsprop": (fastbp.CrossEntropyLoss(weight=[1.0, 0.3, 2.0], label_smoothing=0.1), fastbp.RMSprop, "labels"),
    "adamw": (fastbp.MSELoss(reduction="sum"), lambda: fastbp.AdamW(0.01, weight_decay=0.1), "targets"),
    "sgd": (fastbp.CrossEntropyLoss(ignore_index=1), fastbp.SGD, "labels"),
    **{kind.__name__: (kind(), fastbp.SGD, kind._entry) for kind in losses.MADE},
    **{kind.__name__: (None, kind, "labels") for kind in optimizers.MADE},
}


def targets_of_case(kind, labels):
    rng = np.random.default_rng(4)
    if kind == "labels":
        return labels
    if kind == "targets":
        return rng.dirichlet(np.ones(3), ROWS)
    own_labels, targets = targets_of(kind, rng, ROWS, 3)
    return own_labels if kind.labelled else targets


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_run_resumed_at_any_step_ends_as_if_never_interrupted(data, tmp_path, single_steps, case, shuffle):
    loss, optimizer, kind = CASES[case]
    x, y = data
    y = targets_of_case(kind, y)

    def run(trainer, *callbacks, resume=False):
        stop = fastbp.EarlyStopping("loss", patience=1, min_delta=10.0)  # after two epochs, and brings the first back
        return trainer.fit(
            x, y, epochs=4, batch_size=BATCH, shuffle=shuffle, rng=7, validation_data=(x, y), progress=False,
            callbacks=[Halve(), *callbacks, stop], resume=resume, sample_weight=np.linspace(0, 1, ROWS),
        )  # fmt: skip

    straight = make_trainer(loss or "softmax_cross_entropy", optimizer())
    saves = SaveSteps(tmp_path)
    history = run(straight, saves)
    assert history.epochs == 2
    assert len(saves.saved) == 2 * 5 + 2
    for path in saves.saved:
        resumed = fastbp.Trainer.load_checkpoint(path)
        assert same_history(run(resumed, resume=True), history)
        assert_same(resumed, straight)


def test_a_run_without_last_batches_resumed_at_any_step_ends_as_if_never_interrupted(data, tmp_path, single_steps):
    options = {"epochs": 2, "batch_size": BATCH, "rng": 7, "drop_last": True, "progress": False}
    straight, saves = make_trainer(), SaveSteps(tmp_path)
    history = straight.fit(*data, callbacks=[saves], **options)
    assert ROWS % BATCH
    assert straight.steps == 2 * (ROWS // BATCH)
    for path in saves.saved:
        resumed = fastbp.Trainer.load_checkpoint(path)
        assert same_history(resumed.fit(*data, resume=True, **options), history)
        assert_same(resumed, straight)


class StopsAt(fastbp.Callback):
    def __init__(self, every):
        self.every = every

    def on_steps_end(self, trainer):
        raise InterruptedError


def in_read_only_memory(thing):
    """A copy such as joblib, Ray and Dask give to their workers, all of whose arrays may be read-only."""
    buffers = []
    pickled = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(pickled, buffers=[bytes(buffer) for buffer in buffers])


@pytest.mark.parametrize("case", CASES)
def test_a_copy_in_read_only_memory_trains_on(data, case):
    loss, optimizer, kind = CASES[case]
    x, y = data
    y = targets_of_case(kind, y)
    asked = {"epochs": 3, "batch_size": BATCH, "progress": False}
    for step in (3, 5, 7):
        trainer, straight = (make_trainer(loss or "softmax_cross_entropy", optimizer()) for _ in range(2))
        with pytest.raises(InterruptedError):
            trainer.fit(x, y, rng=7, callbacks=[StopsAt(step), fastbp.EarlyStopping("loss")], **asked)
        other = in_read_only_memory(trainer)
        for one in (other, trainer):
            one.fit(x, y, resume=True, callbacks=[fastbp.EarlyStopping("loss")], **asked)
        straight.fit(x, y, rng=7, callbacks=[fastbp.EarlyStopping("loss")], **asked)
        assert_same(other, straight)
        assert_same(trainer, straight)
        assert other.step(x, y) == straight.step(x, y)


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_generator_of_numpy_goes_on(data, tmp_path, single_steps, bits):
    def generator():
        result = np.random.Generator(getattr(np.random, bits)(5))
        result.integers(0, 9, 3, dtype=np.uint32)  # leaves half a number in its buffer
        return result

    straight, saves = make_trainer(), SaveSteps(tmp_path)
    straight.fit(*data, epochs=3, batch_size=BATCH, rng=generator(), callbacks=[saves], progress=False)
    for path in (saves.saved[2], saves.saved[5]):
        resumed = fastbp.Trainer.load_checkpoint(path)
        resumed.fit(*data, epochs=3, batch_size=BATCH, resume=True, progress=False)
        assert_same(resumed, straight)


class Interrupt(fastbp.Callback):
    """Raises at a step, or at the end of an epoch."""

    def __init__(self, error, step=None, epoch=None):
        self.error, self.step, self.epoch = error, step, epoch

    def on_steps_end(self, trainer):
        if trainer.steps == self.step:
            self.step = None
            raise self.error

    def on_epoch_end(self, trainer, epoch, figures):
        if epoch == self.epoch:
            self.epoch = None
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("mine")])
@pytest.mark.parametrize("where", [{"step": 1}, {"step": 7}, {"step": 10}, {"epoch": 1}, {"epoch": 3}])
def test_the_same_process_goes_on_after_an_exception_in_a_callback(data, single_steps, error, where):
    straight = make_trainer()
    asked = {"epochs": 3, "batch_size": BATCH, "rng": 7, "progress": False}
    expected = straight.fit(*data, callbacks=[Halve()], **asked)
    trainer, halve = make_trainer(), Halve()
    with pytest.raises((KeyboardInterrupt, ValueError)):
        trainer.fit(*data, callbacks=[Interrupt(error, **where), halve], **asked)
    assert trainer.steps == (where["step"] if "step" in where else 5 * where["epoch"])
    assert same_history(trainer.fit(*data, callbacks=[halve], resume=True, **asked), expected)
    assert_same(trainer, straight)


def test_a_callback_that_raised_is_told_again(data):
    told = []

    class Fails(fastbp.Callback):
        def on_epoch_end(self, trainer, epoch, figures):
            told.append(epoch)
            if told == [1, 2]:
                raise ValueError("mine")

    trainer = make_trainer()
    with pytest.raises(ValueError, match="mine"):
        trainer.fit(*data, epochs=3, callbacks=[Fails()], progress=False)
    trainer.fit(*data, epochs=3, callbacks=[Fails()], progress=False, resume=True)
    assert told == [1, 2, 2, 3]


def test_what_a_callback_does_elsewhere_is_no_part_of_the_run(data):
    trainer, stop = make_trainer(), fastbp.EarlyStopping("loss", patience=3)
    trainer.fit(*data, epochs=2, rng=0, callbacks=[stop], progress=False)
    best = stop.best
    make_trainer(optimizer=fastbp.SGD(0.0)).fit(*data, epochs=1, rng=0, callbacks=[stop], progress=False)
    assert stop.best != best
    trainer.fit(*data, epochs=2, callbacks=[stop], progress=False, resume=True)
    assert stop.best == best


def test_resume_with_nothing_to_resume_begins_and_at_its_end_does_nothing(data):
    straight, trainer = make_trainer(), make_trainer()
    asked = {"batch_size": BATCH, "rng": 7, "progress": False}
    straight.fit(*data, epochs=3, **asked)
    for epochs in (2, 2, 1, 3):
        history = trainer.fit(*data, epochs=epochs, resume=True, **asked)
    assert_same(trainer, straight)
    assert same_history(history, straight.history)
    trainer.fit(*data, epochs=3, **asked)  # a new run
    assert trainer.history.epochs == 6


def test_a_new_run_counts_the_steps_of_one_that_was_given_up(data, single_steps):
    trainer = make_trainer()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*data, batch_size=BATCH, callbacks=[Interrupt(KeyboardInterrupt, step=3)], progress=False)
    trainer.step(*data)
    assert trainer.steps == 4
    trainer.fit(*data, batch_size=BATCH, progress=False)
    assert trainer.steps == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 6}, "fit expects batch_size 5 as in the run that it resumes, got 6"),
        ({"shuffle": False}, "fit expects shuffle True as in the run that it resumes, got False"),
        ({"drop_last": True}, "fit expects drop_last False as in the run that it resumes, got True"),
        ({"rows": 20}, "fit expects rows 22 as in the run that it resumes, got 20"),
        ({"callbacks": []}, "fit expects callbacks to have EarlyStopping as in the run that it resumes"),
    ],
)
def test_resume_refuses_what_is_not_the_run(data, tmp_path, change, message):
    trainer = make_trainer()
    asked = {"epochs": 1, "batch_size": BATCH, "rng": 7, "progress": False}
    trainer.fit(*data, callbacks=[fastbp.EarlyStopping("loss")], **asked)
    trainer.save_checkpoint(tmp_path / "c")
    for resumed in (trainer, fastbp.Trainer.load_checkpoint(tmp_path / "c")):
        rows = slice(change.get("rows"))
        given = {"callbacks": [fastbp.EarlyStopping("loss")], **asked, **change, "epochs": 2}
        given.pop("rows", None)
        with pytest.raises(ValueError, match=message):
            resumed.fit(data[0][rows], data[1][rows], resume=True, **given)
        assert_same(resumed, trainer)


def test_everything_comes_back_exactly(data, tmp_path):
    trainer = fastbp.Trainer(
        fastbp.mlp([4, 2], dtype="float64", rng=0),
        fastbp.GaussianNLLLoss(full=True, eps=1 / 3, reduction="sum"),
        fastbp.Adam(np.float32(0.1), betas=(1 / 3, 0.7), eps=1e-300),
    )
    trainer.model.metadata = {"note": "ü", "third": 1 / 3}
    for _ in range(3):
        trainer.step(data[0], data[0][:, 0])
    trainer.model._params[0] = np.nan
    trainer.history.append({"loss": float("inf"), "mine": 0.1})
    trainer.save_checkpoint(tmp_path / "c")
    twin = fastbp.Trainer.load_checkpoint(tmp_path / "c")
    assert_same(twin, trainer)
    assert twin.loss == trainer.loss
    assert twin.model.metadata == trainer.model.metadata
    assert repr(twin.model) == repr(trainer.model)


def test_checkpoint_tells_versions(data, tmp_path):
    make_trainer().save_checkpoint(tmp_path / "c")
    with safe_open(tmp_path / "c", framework="numpy") as file:
        header = json.loads(file.metadata()[CHECKPOINT])
    assert header["format"] == 1
    assert header["versions"] == {"fastbp": fastbp.__version__, "numpy": np.__version__}


class TestCallback:
    def test_saves_at_the_end_of_epochs(self, data, tmp_path):
        seen = []

        class Look(fastbp.Callback):
            def on_epoch_end(self, trainer, epoch, figures):
                path = tmp_path / "c"
                seen.append(fastbp.Trainer.load_checkpoint(path).history.epochs if path.exists() else 0)

        saves = fastbp.Checkpoint(tmp_path / "c", every_epochs=2)
        trainer = make_trainer()
        trainer.fit(*data, epochs=5, rng=0, callbacks=[saves, Look()], progress=False)
        assert seen == [0, 2, 2, 4, 4]
        assert_same(fastbp.Trainer.load_checkpoint(tmp_path / "c"), trainer)

    def test_saves_in_an_epoch_by_the_clock(self, data, tmp_path, single_steps):
        trainer = make_trainer()
        saves = fastbp.Checkpoint(tmp_path / "c", every_seconds=0)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(*data, batch_size=BATCH, callbacks=[saves, Interrupt(KeyboardInterrupt, step=3)], rng=0)
        twin = fastbp.Trainer.load_checkpoint(tmp_path / "c")
        assert twin.steps == 3
        for one in (trainer, twin):
            one.fit(*data, epochs=2, batch_size=BATCH, resume=True, progress=False)
        assert_same(twin, trainer)

    def test_refuses_what_it_cannot_do_first(self, data, tmp_path):
        trainer = make_trainer()
        for options, error, message in [
            ({"every_epochs": 0}, ValueError, "Checkpoint expects every_epochs of at least 1, got 0"),
            ({"every_seconds": -1}, ValueError, "Checkpoint expects every_seconds at least 0, got -1"),
        ]:
            with pytest.raises(error, match=message):
                fastbp.Checkpoint(tmp_path / "c", **options)
        with pytest.raises(FileNotFoundError):
            trainer.fit(*data, callbacks=[fastbp.Checkpoint(tmp_path / "no" / "c")], progress=False)
        assert trainer.steps == 0


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Make a small checkpoint; return its bytes."""
    path = tmp_path_factory.mktemp("small") / "c"
    trainer = fastbp.Trainer(fastbp.mlp([2, 2], rng=0), optimizer=fastbp.SGD(0.1))
    stop = fastbp.EarlyStopping("loss")
    trainer.fit(np.eye(2), [0, 1], batch_size=1, rng=0, callbacks=[stop], progress=False)
    trainer.save_checkpoint(path)
    return path.read_bytes()


class TestDamage:
    def test_bytes_after_the_end_are_a_named_error(self, content, tmp_path):
        path = tmp_path / "c"
        for more in (b"\0", content):
            path.write_bytes(content + more)
            with pytest.raises(ValueError, match="c is no safetensors file, or is damaged"):
                fastbp.Trainer.load_checkpoint(path)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("format", 2, "should be of format 1, and is of format 2"),
            ("layers", [], "parameters that are there"),
            ("layers", None, "describes no layers"),
            ("layers", [{"in_features": 10**9, "out_features": 10**9, "activation": "relu", "bias": True,
                         "dtype": "float32"}], "parameters that are there"),
            ("metadata", 5, "metadata is no table"),
            ("loss", {"kind": "system", "options": {}}, "kind to be one of CrossEntropyLoss"),
            ("loss", {"kind": "MSELoss", "options": {"reduction": "max"}}, "reduction"),
            ("optimizer", {"kind": "Adam", "options": {}}, "state of shape"),
            ("optimizer", {"kind": "SGD", "options": {"lr": -1}}, "lr at least 0"),
            ("optimizer", {"kind": "SGD", "options": {"speed": 1}}, "speed"),
            ("steps", -1, "steps of at least 0"),
            ("history", ["loss", "loss", "loss"], "damaged"),
            ("position", {}, "rows"),
            ("position", 5, "damaged"),
        ],
    )  # fmt: skip
    def test_a_header_that_does_not_fit_is_a_named_error(self, content, tmp_path, key, value, message):
        rewrite(content, tmp_path / "c", lambda header, _: header.update({key: value}))
        with pytest.raises(ValueError, match=message):
            fastbp.Trainer.load_checkpoint(tmp_path / "c")

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("rows", 10**15, "damaged|order"),
            ("generator", {"bit_generator": "system"}, "generator to be one of PCG64"),
            (
                "generator",
                {"bit_generator": "MT19937", "state": {"key": [0] * 624, "pos": 10**6}},
                "pos of at most 624",
            ),
            ("batch_size", 0, "batch_size of at least 1"),
            ("callbacks", [{}], "damaged"),
        ],
    )
    def test_a_position_that_does_not_fit_is_a_named_error(self, tmp_path, data, single_steps, key, value, message):
        saves = SaveSteps(tmp_path)
        make_trainer().fit(*data, batch_size=BATCH, callbacks=[saves], progress=False)
        rewrite(saves.saved[1].read_bytes(), tmp_path / "c", lambda header, _: header["position"].update({key: value}))
        with pytest.raises(ValueError, match=message):
            fastbp.Trainer.load_checkpoint(tmp_path / "c")

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("params", lambda a: a[1:], "parameters that are there"),
            ("params", lambda a: a.astype(np.float64), "params should be float32"),
            ("state", lambda a: a[1:], "state of shape"),
            ("powers", lambda a: a[1:], "powers of shape"),
            ("position.order", lambda a: a + 1, "each row once"),
            ("position.order", lambda a: a // 2, "each row once"),
            ("position.order", lambda a: a[1:], "order of shape"),
            ("position.record", lambda a: np.zeros((4, 9)), "record is of 9 steps, and an epoch has 5"),
            ("position.record", lambda a: np.zeros(4), "damaged"),
        ],
    )
    def test_arrays_that_do_not_fit_are_a_named_error(self, tmp_path, data, single_steps, name, change, message):
        saves = SaveSteps(tmp_path)
        make_trainer().fit(*data, batch_size=BATCH, callbacks=[saves], progress=False)
        rewrite(
            saves.saved[1].read_bytes(), tmp_path / "c", lambda _, arrays: arrays.update({name: change(arrays[name])})
        )
        with pytest.raises(ValueError, match=message):
            fastbp.Trainer.load_checkpoint(tmp_path / "c")

    def test_a_missing_array_is_a_named_error(self, content, tmp_path):
        for name in ("params", "state", "powers", "history", "position.history"):
            rewrite(content, tmp_path / "c", lambda _, arrays, name=name: arrays.pop(name))
            with pytest.raises(ValueError, match=f"it has no {name.removeprefix('position.')}"):
                fastbp.Trainer.load_checkpoint(tmp_path / "c")

    def test_a_checkpoint_without_checksum_is_refused(self, content, tmp_path):
        from safetensors.numpy import save_file

        (tmp_path / "c").write_bytes(content)
        with safe_open(tmp_path / "c", framework="numpy") as file:
            text = file.metadata()[CHECKPOINT]
        header = json.loads(text)
        del header["sha256"]
        save_file(load_file(tmp_path / "c"), tmp_path / "c", {CHECKPOINT: json.dumps(header)})
        with pytest.raises(ValueError, match="its checksum is missing"):
            fastbp.Trainer.load_checkpoint(tmp_path / "c")


def rewrite(content, path, change):
    """Write a checkpoint again, its header and its arrays changed, its checksum right."""
    path.write_bytes(content)
    header, tensors = read_tensors(path, CHECKPOINT, "test")
    del header["sha256"]
    change(header, tensors)
    write_tensors(path, CHECKPOINT, header, {name: np.ascontiguousarray(array) for name, array in tensors.items()})


def test_a_run_of_before_drop_last_goes_on(data, tmp_path):
    trainer = make_trainer()
    trainer.fit(*data, batch_size=BATCH, progress=False)
    trainer.save_checkpoint(tmp_path / "c")
    rewrite((tmp_path / "c").read_bytes(), tmp_path / "c", lambda header, _: header["position"].pop("drop_last"))
    resumed = fastbp.Trainer.load_checkpoint(tmp_path / "c")
    for one in (trainer, resumed):
        one.fit(*data, epochs=2, batch_size=BATCH, resume=True, progress=False)
    assert_same(resumed, trainer)


def test_models_and_checkpoints_are_told_apart(tmp_path):
    trainer = make_trainer()
    trainer.model.save(tmp_path / "m")
    trainer.save_checkpoint(tmp_path / "c")
    with pytest.raises(ValueError, match="m holds a model but no fastbp checkpoint"):
        fastbp.Trainer.load_checkpoint(tmp_path / "m")
    with pytest.raises(ValueError, match="c holds a checkpoint but no fastbp model"):
        fastbp.load(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="load_checkpoint expects a checkpoint file, and there is none"):
        fastbp.Trainer.load_checkpoint(tmp_path / "nothing")


def test_what_a_checkpoint_cannot_hold_is_refused_and_the_old_one_stays(data, tmp_path):
    class Mine(fastbp.SGD):
        pass

    path = tmp_path / "c"
    make_trainer().save_checkpoint(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match=r"save_checkpoint knows SGD, Adam, AdamW, RMSprop.*; got Mine"):
        make_trainer(optimizer=Mine()).save_checkpoint(path)
    trainer = make_trainer()
    trainer.model.metadata = {"what": object()}
    with pytest.raises(TypeError):
        trainer.save_checkpoint(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_replace_no_checkpoint(tmp_path, value):
    checkpoint = fastbp.Checkpoint(tmp_path / "run.checkpoint")
    trainer = make_trainer()
    assert checkpoint.save(trainer)
    before = (tmp_path / "run.checkpoint").read_bytes()
    trainer.model.parameters()["1.weight"].flat[2] = value
    assert not checkpoint.save(trainer)
    checkpoint.on_epoch_end(trainer, 1, {})
    checkpoint.on_fit_end(trainer)
    assert (tmp_path / "run.checkpoint").read_bytes() == before
