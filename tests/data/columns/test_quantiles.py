"""Numbers by their quantiles: as scikit-learn's, and what is in the middle, missing, equal or out of reach."""

import json

import numpy as np
import pytest

from fastbp.data.columns.column import Column
from fastbp.data.columns.quantiles import MOST, Quantiles


@pytest.mark.parametrize("rows", [1, 2, 10, 5000, 40_000])
def test_numbers_that_differ_are_as_in_scikit_learn(rows, library):
    QuantileTransformer = library("sklearn.preprocessing").QuantileTransformer
    rng = np.random.default_rng(rows)
    x, others = rng.standard_normal(rows) ** 3, rng.standard_normal(200) * 3
    found = Quantiles.fit(x)
    assert len(found.values) == max(10, min(rows // 30, MOST))
    if rows < 10:
        return  # scikit-learn takes fewer quantiles then
    exact = QuantileTransformer(n_quantiles=len(found.values), output_distribution="normal", subsample=10**9)
    exact.fit(x[:, None])
    for y in (x, others):
        np.testing.assert_allclose(found.apply(y), exact.transform(y[:, None])[:, 0], rtol=0, atol=2e-5)


def test_equal_numbers_are_in_the_middle_and_ends_bound_what_comes():
    x = np.repeat([3.0, 7.0], 300)
    scores = Quantiles.fit(x).apply(np.array([3, 7, 5, -np.inf, np.inf, np.nan]))
    assert scores[0] == pytest.approx(-0.67, abs=0.1)
    assert scores[:2] == pytest.approx(-scores[:2][::-1], abs=1e-6)
    assert abs(scores[2]) < 0.1
    assert scores[[3, 4]] == pytest.approx([-5.2, 5.2], abs=0.01)
    assert np.isnan(scores[5])


@pytest.mark.parametrize("values", [[], [np.nan], [4.0] * 20, [np.inf, 4.0]])
def test_numbers_that_say_nothing_become_zero(values):
    found = Quantiles.fit(np.array(values, float)).apply(np.array([1.0, 4.0, np.nan]))
    np.testing.assert_array_equal(found, [0, 0, np.nan])


def test_blocks_have_the_quantiles_of_the_whole_and_files_keep_them():
    x = np.random.default_rng(0).integers(0, 1 << 60, 5000)
    whole = Quantiles.fit(x)
    assert Quantiles.fit(Column(lambda: [x[:2000], x[2000:]])) == whole
    state = json.loads(json.dumps(whole.to_dict()))
    assert Quantiles.from_dict(state) == whole
    for wrong in ([2.0, 1.0], [1], [float("nan")], "x"):
        with pytest.raises(ValueError, match="quantiles should be"):
            Quantiles.from_dict({"quantiles": wrong})
