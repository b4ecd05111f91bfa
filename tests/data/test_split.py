"""Parting rows in two: sizes, shares of classes, determinism."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.data.datasets import train_validation_split
from fastbp.data.split import split_groups, split_times


def split(y, fraction=0.25, seed=0, stratify=True):
    y = np.asarray(y)
    rows = np.arange(len(y))
    return train_validation_split(rows, y, fraction=fraction, seed=seed, stratify=y if stratify else None)


@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=8),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
def test_every_class_gives_its_share_to_within_one_row(sizes, fraction, seed):
    y = np.repeat(np.arange(len(sizes)), sizes)
    rows_train, rows_val, y_train, y_val = split(y, fraction, seed)
    assert len(rows_val) == math.ceil(fraction * len(y))
    for label, size in enumerate(sizes):
        share = len(rows_val) / len(y) * size
        assert abs((y_val == label).sum() - share) < 1
        assert (y_train == label).any()
    np.testing.assert_array_equal(np.sort(np.concatenate([rows_train, rows_val])), range(len(y)))
    np.testing.assert_array_equal(y[rows_train], y_train)
    np.testing.assert_array_equal(y[rows_val], y_val)


def test_same_seed_same_rows_other_seed_other_rows():
    y = np.arange(200) % 3
    first, again, other = (split(y, seed=seed)[1] for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert set(first.tolist()) != set(other.tolist())


def test_generator_is_a_seed_too():
    y = np.arange(50) % 2
    np.testing.assert_array_equal(split(y, seed=np.random.default_rng(3))[1], split(y, seed=3)[1])


def test_rows_are_shuffled():
    rows_train, *_ = split(np.sort(np.arange(300) % 3))
    assert (np.diff(rows_train) < 0).any()


def test_class_with_one_row_stays_in_training():
    for seed in range(20):
        _, _, y_train, y_val = split([0] * 10 + [1], seed=seed)
        assert 1 in y_train
        assert 1 not in y_val


def test_without_stratify_any_targets_will_do():
    x_train, x_val, y_train, y_val = train_validation_split(
        np.zeros((10, 3)), np.linspace(0, 1, 10)[:, None], fraction=0.3, seed=0
    )
    assert x_train.shape == (7, 3)
    assert x_val.shape == (3, 3)
    assert y_train.shape == (7, 1)
    assert y_val.shape == (3, 1)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, math.nan])
def test_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction should be between 0 and 1, got"):
        split([0, 1] * 5, fraction)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="as many rows, got 3 and 4"):
        train_validation_split(np.zeros(3), np.zeros(4), fraction=0.5, seed=0)


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="leaves no row to train with"):
        split([0], 0.5)


def test_all_labels_different_hints_at_a_regression():
    with pytest.raises(ValueError, match=r"every label is there once.*regression"):
        split(np.arange(10))


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=12), fraction=st.floats(0.05, 0.9), seed=st.integers(0, 9)
)
def test_groups_are_parted_whole(sizes, fraction, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if math.ceil(fraction * len(groups)) == len(groups):
        return
    train, held_out = split_groups(groups, fraction, seed)
    assert sorted([*train, *held_out]) == list(range(len(groups)))
    assert not set(groups[train]) & set(groups[held_out])
    assert len(train)
    if len(set(groups[train])) > 1:
        assert len(held_out) >= math.ceil(fraction * len(groups))
    again = split_groups(groups, fraction, seed)
    np.testing.assert_array_equal(again[1], held_out)


def test_one_group_cannot_be_parted():
    with pytest.raises(ValueError, match="one group"):
        split_groups(np.zeros(5, np.int64), 0.2, 0)


def test_late_rows_are_held_out():
    times = np.array([5, 1, 4, 1, 3])
    train, held_out = split_times(times, 0.3)
    assert train.tolist() == [1, 3, 4]
    assert held_out.tolist() == [2, 0]
    with pytest.raises(ValueError, match="leaves no row"):
        split_times(times, 0.9)
