"""Entropy, cross-entropy and divergence of distributions."""

import numpy as np
import pytest

import fastbp


def test_what_never_happens_counts_for_nothing():
    assert fastbp.entropy([1.0, 0.0]) == 0
    assert fastbp.cross_entropy([0.0, 1.0], [0.0, 1.0]) == 0
    assert fastbp.kl_divergence([0.0, 1.0], [0.5, 0.5]) == pytest.approx(np.log(2))


def test_an_excluded_outcome_that_happens_is_infinitely_surprising():
    assert fastbp.cross_entropy([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert fastbp.kl_divergence([0.5, 0.5], [1.0, 0.0]) == np.inf


def test_rows_along_the_last_axis():
    p = np.random.default_rng(0).dirichlet(np.ones(4), (3, 2))
    assert fastbp.entropy(p).shape == (3, 2)
    assert np.all(fastbp.kl_divergence(p, p[::-1]) >= 0)
    np.testing.assert_allclose(
        fastbp.cross_entropy(p, p[::-1]), fastbp.entropy(p) + fastbp.kl_divergence(p, p[::-1]), rtol=1e-12
    )


def test_agrees_with_the_loss_on_logits():
    rng = np.random.default_rng(0)
    z, q = rng.standard_normal((5, 7)), rng.dirichlet(np.ones(7), 5)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert fastbp.softmax_cross_entropy(z, q)[0] == pytest.approx(fastbp.cross_entropy(q, p).mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("q", "p", "message"),
    [
        ([0.5, 0.6], [0.5, 0.5], "q to sum to 1.*got a sum of 1.1"),
        ([0.5, 0.5], [1.5, -0.5], "p that are not negative, got -0.5"),
        ([0.5, 0.5], [0.3, 0.3, 0.4], "p with 2 outcomes, as q has, got 3"),
        (np.full((2, 2), 0.5), np.full((3, 2), 0.5), r"p of q's shape \(2, 2\)"),
        ([], [], "along its last axis"),
    ],
)
def test_refuses_what_is_no_distribution(q, p, message):
    for function in (fastbp.cross_entropy, fastbp.kl_divergence):
        with pytest.raises(ValueError, match=message):
            function(q, p)
