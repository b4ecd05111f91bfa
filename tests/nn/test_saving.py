"""Model files."""

import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastbp


@pytest.fixture
def model():
    result = fastbp.Sequential(
        fastbp.Dense(4, 6, "gelu", rng=0), fastbp.Dense(6, 5, bias=False, rng=1), fastbp.Dense(5, 3, rng=2)
    )
    result.metadata = {"classes": ["a", "b", "ü"], "scale": 1 / 3}
    return result


def test_load_brings_back_what_save_wrote(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    twin = fastbp.load(tmp_path / "m.safetensors")
    assert repr(twin) == repr(model)
    assert twin.metadata == model.metadata
    assert_array_equal(twin._params, model._params)


def test_float64_stays(tmp_path):
    model = fastbp.mlp([2, 2], dtype="float64", rng=0)
    model.save(tmp_path / "m")
    assert fastbp.load(tmp_path / "m").dtype == np.float64


def test_others_read_the_tensors(model, tmp_path):
    model.save(tmp_path / "m")
    tensors = load_file(tmp_path / "m")
    assert {name: value.shape for name, value in tensors.items()} == {
        "0.weight": (6, 4),
        "0.bias": (6,),
        "1.weight": (5, 6),
        "2.weight": (3, 5),
        "2.bias": (3,),
    }
    for name, value in model.parameters().items():
        assert_array_equal(tensors[name], value)


def test_torch_loads_the_file(torch, tmp_path):
    from safetensors.torch import load_file as load_torch

    model = fastbp.mlp([4, 3, 2], "identity", rng=0)
    model.save(tmp_path / "m")
    reference = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    reference.load_state_dict(load_torch(tmp_path / "m"))
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(reference(torch.from_numpy(x)).detach().numpy(), model.predict(x), rtol=1e-5)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(model, tmp_path):
    path = tmp_path / "m"
    model.save(path)
    before = path.read_bytes()
    model.metadata["what"] = object()
    with pytest.raises(TypeError):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is none at .*nothing"):
        fastbp.load(tmp_path / "nothing")


@pytest.mark.parametrize("keep", [4, 8, 100, -1])
def test_truncated_file(model, tmp_path, keep):
    path = tmp_path / "m"
    model.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="m is no safetensors file, or is damaged"):
        fastbp.load(path)


def change(path, header=None, tensors=None):
    """Rewrite a model file with another header or other tensors."""
    with safe_open(path, framework="numpy") as file:
        old = json.loads(file.metadata()["fastbp"])
    del old["sha256"]  # as files of 0.1.0 had none
    save_file(load_file(path) | (tensors or {}), path, {"fastbp": json.dumps(old | (header or {}))})


def layer(**changes):
    """Describe the first layer of `model`, with changes, as a header does."""
    return {"in_features": 4, "out_features": 6, "activation": "relu", "bias": True, "dtype": "float32"} | changes


@pytest.mark.parametrize(
    ("header", "tensors", "message"),
    [
        ({"format": 99}, {}, "should be of format 1, and is of format 99"),
        ({"layers": "many"}, {}, "the header describes no layers"),
        ({"layers": [{"in_features": 4}]}, {}, "the header describes no layers"),
        ({"layers": []}, {}, "at least one layer"),
        (
            {"layers": [layer(in_features=10**9, out_features=10**9)]},
            {},
            r"0.weight of shape \(1000000000, 1000000000\)",
        ),
        ({"layers": [layer()] * 4}, {}, "1.weight of shape"),
        ({"layers": [layer(out_features=6.0)]}, {}, "out_features to be an int"),
        ({"layers": [layer(in_features=-4)]}, {}, "in_features of at least 1"),
        ({"layers": [layer(activation="system")]}, {}, "activation .system., which is none of"),
        ({"layers": [layer(dtype="object")]}, {}, "dtype float32 or float64"),
        ({"layers": [layer(), layer(in_features=6, out_features=7)]}, {}, "1.weight of shape"),
        ({"metadata": []}, {}, "the metadata is no table"),
        ({}, {"9.weight": np.zeros(1, np.float32)}, "expects no 9.weight"),
        ({}, {"0.bias": np.zeros(5, np.float32)}, r"0.bias of shape \(6,\), got \(5,\)"),
        ({}, {"0.bias": np.zeros(6)}, "0.bias of dtype float32, got float64"),
        ({}, {"0.bias": np.full(6, np.nan, np.float32)}, "0.bias without NaN, got 6 of them"),
    ],
)
def test_a_file_that_does_not_fit_is_a_named_error(model, tmp_path, header, tensors, message):
    path = tmp_path / "m"
    model.save(path)
    change(path, header, tensors)
    with pytest.raises(ValueError, match=message):
        fastbp.load(path)


def test_tensors_of_someone_else(tmp_path):
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "m")
    with pytest.raises(ValueError, match="holds tensors but no fastbp model"):
        fastbp.load(tmp_path / "m")


def test_a_missing_tensor_is_a_named_error(model, tmp_path):
    path = tmp_path / "m"
    model.save(path)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["fastbp"])
    del header["sha256"]
    save_file({"0.weight": model[0].weight.copy()}, path, {"fastbp": json.dumps(header)})
    with pytest.raises(ValueError, match=r"m: damaged, its layers have 0.bias and its tensors do not"):
        fastbp.load(path)


def test_a_file_of_0_1_0_without_checksum_is_read(model, tmp_path):
    model.save(tmp_path / "m")
    change(tmp_path / "m")
    assert_array_equal(fastbp.load(tmp_path / "m")._params, model._params)


def test_a_changed_parameter_is_seen(model, tmp_path):
    path = tmp_path / "m"
    model.save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its content does not fit its checksum"):
        fastbp.load(path)


class Trap:
    """Leaves a trace where a reader runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def lying(header, size=8):
    """Return a safetensors file with this header and some bytes."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Trap("trace")),
        b"",
        b"\xff" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        (99_000_000).to_bytes(8, "little") + b"{}",
        lying({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        lying({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}}),
        lying({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}),
        lying({"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}),
        lying([]),
        lying({"__metadata__": {"fastbp": 5}}, 0),
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        lying({"__metadata__": {"fastbp": "[" * 200_000}}, 0),
        lying({"__metadata__": {"fastbp": "null"}}, 0),
        lying({"__metadata__": {"fastbp": '{"format": 1}'}}, 0),
    ],
    ids=range(15),
)
def test_any_other_content_is_a_named_error_and_runs_nothing(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").write_bytes(content)
    tracemalloc.start()
    for load in (fastbp.load, fastbp.Trainer.load_checkpoint):
        with pytest.raises(ValueError, match="m"):
            load(tmp_path / "m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(content) + 2**20
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_is_no_file_is_not_there(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero", "", "a\0b", tmp_path / "m" / "n"):
        for load in (fastbp.load, fastbp.Trainer.load_checkpoint):
            with pytest.raises(FileNotFoundError, match="there is none at"):
                load(path)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters())  # lone surrogates too
    | st.binary(max_size=3)
    | st.sampled_from([np.float64(0.1), np.float32(0.1), np.int64(3), np.zeros(2), "\ud800", '"sha256": "' + "0" * 64]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3) | st.none() | st.floats(), inner, max_size=3)
        | st.sets(st.integers(0, 3), max_size=2)
    ),
    max_leaves=8,
)


ARRAYS = [np.array(2.5), np.zeros((0, 2)), np.arange(6).reshape(2, 3).T, np.ones(2, ">f4"), np.ones(2, complex)]


def as_json_has_it(value):
    """Return lists for tuples: all else comes back as it was."""
    if isinstance(value, dict):
        return {name: as_json_has_it(inner) for name, inner in value.items()}
    if isinstance(value, np.float64):
        return float(value)
    return [as_json_has_it(inner) for inner in value] if isinstance(value, (list, tuple)) else value


class TestWhatIsWrittenIsRead:
    """A file that `save` wrote, `load` reads; and a model that it would refuse is refused, and the old file stays."""

    @settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(ANYTHING | st.dictionaries(st.text(max_size=4) | st.integers(0, 3), ANYTHING, max_size=3), st.booleans())
    def test_whatever_the_metadata_is(self, tmp_path, metadata, as_checkpoint):
        model = fastbp.mlp([2, 3], rng=0)
        save, load = model.save, lambda path: fastbp.load(path).metadata
        if as_checkpoint:
            save = fastbp.Trainer(model).save_checkpoint
            load = lambda path: fastbp.Trainer.load_checkpoint(path).model.metadata  # noqa: E731
        path = tmp_path / "m"
        path.write_bytes(b"old")
        model.metadata = metadata
        try:
            save(path)
        except (TypeError, ValueError):
            assert path.read_bytes() == b"old"
        else:
            assert repr(load(path)) == repr(as_json_has_it(metadata))
        assert [p.name for p in tmp_path.iterdir()] == ["m"]

    @pytest.mark.parametrize("metadata", [None, [], "text", 5, [("a", 1)]])
    def test_metadata_is_a_table(self, tmp_path, metadata):
        model = fastbp.mlp([2, 3], rng=0)
        model.metadata = metadata
        with pytest.raises(TypeError, match="save expects metadata to be a dict, got"):
            model.save(tmp_path / "m")
        with pytest.raises(TypeError, match="save_checkpoint expects the model's metadata to be a dict, got"):
            fastbp.Trainer(model).save_checkpoint(tmp_path / "m")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("metadata", [{1: "a"}, {"a": {None: 1}}, {"a": [{"b": ({2.5: 1},)}]}])
    def test_names_in_it_are_strings(self, tmp_path, metadata):
        model = fastbp.mlp([2, 3], rng=0)
        model.metadata = metadata
        with pytest.raises(TypeError, match="expects names in its tables to be strings, got"):
            model.save(tmp_path / "m")

    def test_deep_nests_are_refused(self, tmp_path):
        model = fastbp.mlp([2, 3], rng=0)
        model.metadata = {"deep": 0}
        for _ in range(5000):
            model.metadata = {"deep": model.metadata}
        with pytest.raises(ValueError, match="not nested as deep"):
            model.save(tmp_path / "m")

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, 22), st.sampled_from([np.nan, np.inf, -np.inf, 1e38, 1e-45]))
    def test_whatever_the_parameters_are(self, tmp_path, place, value):
        model = fastbp.mlp([3, 4, 1], rng=0)
        path = tmp_path / "m"
        path.write_bytes(b"old")
        np.put(model._params, place % model._params.size, value)
        if np.isnan(value):
            with pytest.raises(ValueError, match=r"save expects \d\.(weight|bias) without NaN, got 1 of them"):
                model.save(path)
            assert path.read_bytes() == b"old"
        else:
            model.save(path)
            assert_array_equal(fastbp.load(path)._params, model._params)
        trainer = fastbp.Trainer(model, "mse")  # a checkpoint keeps a run as it is, one that went wrong too
        trainer.save_checkpoint(path)
        assert_array_equal(fastbp.Trainer.load_checkpoint(path).model._params, model._params)

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("lr", -1.0, ValueError),
            ("lr", np.nan, ValueError),
            ("momentum", 0.9, ValueError),
            ("lr", "fast", TypeError),
        ],
    )
    def test_an_optimizer_that_no_step_would_take_is_refused(self, tmp_path, name, value, error):
        trainer = fastbp.Trainer(fastbp.mlp([2, 3]), optimizer=fastbp.SGD(0.1))
        setattr(trainer.optimizer, name, value)
        with pytest.raises(error):
            trainer.save_checkpoint(tmp_path / "c")
        assert not list(tmp_path.iterdir())

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.dictionaries(
            st.text('ab"\\. ü', max_size=3) | st.integers(0, 1),
            ANYTHING
            | st.sampled_from([np.array(2.5), np.zeros((0, 2)), np.arange(6).reshape(2, 3).T, np.ones(2, ">f4")]),
            max_size=3,
        )
    )
    def test_whatever_a_callback_remembers(self, tmp_path, state):
        class Remembers(fastbp.Callback):
            def state_dict(self):
                return state

            def load_state_dict(self, state):
                self.back = dict(state)

        path = tmp_path / "c"
        path.write_bytes(b"old")
        trainer = fastbp.Trainer(fastbp.mlp([2, 3], rng=0))
        x, y = np.ones((4, 2)), [0, 1, 2, 0]
        trainer.fit(x, y, callbacks=[Remembers()], progress=False)
        try:
            trainer.save_checkpoint(path)
        except (TypeError, ValueError):
            assert path.read_bytes() == b"old"
            return
        callback = Remembers()
        callback.back = {}
        fastbp.Trainer.load_checkpoint(path).fit(x, y, epochs=2, resume=True, callbacks=[callback], progress=False)
        assert callback.back.keys() == state.keys()
        for name, value in state.items():
            back = callback.back[name]
            if isinstance(value, np.ndarray):
                assert_array_equal(back, value)
                assert (back.shape, back.dtype) == (value.shape, value.dtype.newbyteorder("="))
