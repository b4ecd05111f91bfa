"""What scikit-learn asks of an estimator, and examples, of the classes in fastbp.tabular."""

import doctest
import importlib
import unittest
import warnings

import pytest

# What no method that takes rows in batches can pass: other rows are together then
IMPOSSIBLE = {"check_sample_weight_equivalence_on_dense_data": "a row twice may be in two batches"}
NOTHING_TO_CHECK = {"check_array_api_input": "the environment variable SCIPY_ARRAY_API is not set"}
# Small, so that all checks take two seconds
SMALL = {"epochs": 40, "hidden": (32, 32), "batch_size": 32}


@pytest.fixture(autouse=True, scope="module")
def _libraries(library):
    library("sklearn")
    library("pandas")  # without it scikit-learn skips checks of data frames
    library("pyarrow")


ESTIMATORS = [
    (kind, {"variant": variant}) for kind in ("RealMLPClassifier", "RealMLPRegressor") for variant in ("td", "td-s")
] + [(kind, {"members": 4, "lr": 0.01}) for kind in ("TabMClassifier", "TabMRegressor")]


@pytest.mark.parametrize(("kind", "options"), ESTIMATORS)
@pytest.mark.filterwarnings("ignore")
def test_every_check_of_an_estimator_passes(kind, options):
    from sklearn.utils.estimator_checks import estimator_checks_generator

    import fastbp.tabular

    estimator = getattr(fastbp.tabular, kind)(**options, **SMALL)
    ran, skipped, failed = 0, set(), set()
    for candidate, check in estimator_checks_generator(estimator):
        name = check.func.__name__
        ran += 1
        try:
            check(candidate)
        except unittest.SkipTest:
            skipped.add(name)
        except AssertionError:
            if name not in IMPOSSIBLE:
                raise
            failed.add(name)
    assert ran > 50
    assert skipped <= set(NOTHING_TO_CHECK)
    assert failed == set(IMPOSSIBLE), "one that passes now is possible"


@pytest.mark.parametrize("module", ["_realmlp", "_tabm"])
def test_examples_in_docstrings_run(module):
    found = importlib.import_module(f"fastbp.tabular.{module}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed, tried = doctest.testmod(found, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (failed, tried > 0) == (0, True)
