"""Scalers: what they make of features, and that they survive JSON."""

import json

import numpy as np
import pytest

import fastbp
from fastbp.data.preprocessing import Scaler


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return rng.normal(3.0, 5.0, size=(9000, 6)).astype(np.float32)


def test_standardized_features_have_mean_0_and_sd_1(x):
    z = Scaler.fit(x, "standardize").transform(x).astype(np.float64)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-7)


def test_standardize_equals_scikit_learn(library, x):
    preprocessing = library("sklearn.preprocessing")
    theirs = preprocessing.StandardScaler().fit(x.astype(np.float64))
    ours = Scaler.fit(x, "standardize")
    np.testing.assert_allclose(ours.shift, theirs.mean_, rtol=1e-13)
    np.testing.assert_allclose(ours.scale, theirs.scale_, rtol=1e-13)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e30])
def test_constant_features_become_zero(constant):
    x = np.full((1001, 2), constant, np.float32)
    x[:, 1] = np.arange(1001)
    scaler = Scaler.fit(x, "standardize")
    assert scaler.scale[0] == 1
    assert np.abs(scaler.transform(x)[:, 0]).max() <= abs(constant) * 1e-12


def test_features_far_from_zero_keep_their_digits():
    seconds = np.arange(64, dtype=np.float64)[:, None] + 1.7e9  # float32 would see one value
    z = Scaler.fit(seconds, "standardize").transform(seconds)
    expected = (seconds - seconds.mean()) / seconds.std()
    np.testing.assert_allclose(z, expected, rtol=2**-22)


def test_scale_divides_images_by_255():
    images = np.array([[0, 51], [255, 102]], np.uint8)
    z = Scaler.fit(images, "scale").transform(images)
    np.testing.assert_array_equal(z, np.float32([[0.0, 0.2], [1.0, 0.4]]))


def test_scale_leaves_zeros_alone():
    z = Scaler.fit(np.zeros((2, 3)), "scale").transform(np.zeros((2, 3)))
    np.testing.assert_array_equal(z, np.zeros((2, 3)))


def test_none_changes_no_bit(x):
    np.testing.assert_array_equal(Scaler.fit(x, "none").transform(x), x)


@pytest.mark.parametrize("kind", ["none", "scale", "standardize"])
def test_transform_returns_a_new_contiguous_float32_array(x, kind):
    fortran = np.asfortranarray(x.astype(np.float64))
    before = fortran.copy()
    z = Scaler.fit(fortran, kind).transform(fortran)
    assert z.dtype == np.float32
    assert z.flags.c_contiguous
    assert not np.shares_memory(z, fortran)
    np.testing.assert_array_equal(fortran, before)


@pytest.mark.parametrize("kind", ["none", "scale", "standardize"])
def test_state_survives_json_bit_for_bit(x, kind):
    scaler = Scaler.fit(x, kind)
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert again.kind == kind
    np.testing.assert_array_equal(again.shift, scaler.shift)
    np.testing.assert_array_equal(again.scale, scaler.scale)
    np.testing.assert_array_equal(again.transform(x), scaler.transform(x))


def test_transform_names_expected_and_given_features(x):
    with pytest.raises(ValueError, match=r"x of shape \(rows, 6\), got \(9000, 5\)"):
        Scaler.fit(x, "standardize").transform(x[:, :5])


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        ([[1.0]], "minmax", "none, scale, standardize, got 'minmax'"),
        ([1.0, 2.0], "scale", r"\(rows, features\), got \(2,\)"),
        (np.empty((0, 3)), "scale", r"\(rows, features\), got \(0, 3\)"),
        ([[1.0, np.nan]], "standardize", "NaN or infinity in feature 1"),
        ([[np.inf, 1.0]], "scale", "NaN or infinity in feature 0"),
        ([["a"]], "scale", "numbers, got dtype <U1"),
    ],
)
def test_fit_refuses(x, kind, message):
    with pytest.raises(ValueError, match=message):
        Scaler.fit(x, kind)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"kind": "scale", "shift": 0.0},
        {"kind": "other", "shift": 0.0, "scale": 1.0},
        {"kind": "scale", "shift": 0.0, "scale": 0.0},
        {"kind": "scale", "shift": float("nan"), "scale": 1.0},
        {"kind": "standardize", "shift": [0.0, 0.0], "scale": [1.0]},
        {"kind": "standardize", "shift": ["a"], "scale": [1.0]},
        {"kind": "standardize", "shift": [[0.0]], "scale": [[1.0]]},
    ],
)
def test_from_dict_refuses_what_is_no_scaler(state):
    with pytest.raises(ValueError, match="a scaler's"):
        Scaler.from_dict(state)


def test_what_holds_no_array_of_numbers_is_refused_by_its_name():
    rows, scaler = np.ones((6, 3)), Scaler.fit(np.eye(3), "scale")
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(rows)
    for each, message in (
        (sparse, r"got csr_matrix; call \.toarray\(\)"),
        (fastbp.Scaled(rows, 2), "got Scaled, whose"),
    ):
        for call in (scaler.transform, lambda x: Scaler.fit(x, "standardize")):
            with pytest.raises(TypeError, match=f"Scaler expects x to be a dense array, {message}"):
                call(each)
