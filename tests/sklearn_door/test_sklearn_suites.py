"""What scikit-learn asks of an estimator, and its own tests of the two classes, run on fastbp's."""

import collections
import doctest
import importlib
import os
import subprocess
import sys
import unittest
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# Of the items of scikit-learn's test_mlp.py, those that reach into what is not public.
PRIVATE = {"test_gradient": "calls _loss_grad_lbfgs with scratch arrays of scikit-learn's own loop"}

# Of the checks of check_estimator, those that have nothing to look at here; scikit-learn's two classes skip them too.
NOTHING_TO_CHECK = {
    "check_array_api_input": "the environment variable SCIPY_ARRAY_API is not set",
    "check_classifiers_multilabel_output_format_decision_function": "there is no decision_function",
}


@pytest.fixture(autouse=True, scope="module")
def _peers(library):
    library("sklearn")
    library("pandas")  # without it scikit-learn skips checks of data frames


def test_their_own_tests_pass(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    report = tmp_path / "report.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "replaced_by_fastbp", "-p", "no:cacheprovider"),
            *("-c", os.devnull, "--rootdir", str(tmp_path), "--junitxml", str(report)),
            *("--pyargs", "sklearn.neural_network.tests.test_mlp"),
        ],
        env={**environment, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    cases = list(ElementTree.parse(report).iter("testcase"))
    outcomes = collections.defaultdict(set)
    for case in cases:
        outcomes[case[0].tag if len(case) and case[0].tag != "system-out" else "passed"].add(case.attrib["name"])
    assert len(cases) == 59
    assert outcomes["failure"] == set(PRIVATE), "a private one that passes now has no place in PRIVATE"
    assert outcomes.keys() == {"passed", "failure"}


def _checks(estimator):
    from sklearn.utils.estimator_checks import estimator_checks_generator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(estimator_checks_generator(estimator))


def _names(estimator):
    return collections.Counter(check.func.__name__ for _, check in _checks(estimator))


# The classifier has class_weight, and one check more for it.
@pytest.mark.parametrize(
    ("kind", "number", "more"), [("MLPClassifier", 68, ["check_class_weight_classifiers"]), ("MLPRegressor", 60, [])]
)
@pytest.mark.filterwarnings("ignore")
def test_every_check_of_an_estimator_passes(kind, number, more):
    import sklearn.neural_network

    import fastbp.sklearn

    estimator = getattr(fastbp.sklearn, kind)()
    assert _names(estimator) == _names(getattr(sklearn.neural_network, kind)()) + collections.Counter(more)
    ran, skipped = 0, set()
    for candidate, check in _checks(estimator):
        ran += 1
        try:
            check(candidate)
        except unittest.SkipTest:
            skipped.add(check.func.__name__)
    assert ran == number
    assert skipped <= set(NOTHING_TO_CHECK)


@pytest.mark.parametrize("module", ["_classifier", "_regressor"])
def test_examples_in_docstrings_run(module):
    found = importlib.import_module(f"fastbp.sklearn.{module}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed, tried = doctest.testmod(found, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (failed, tried > 0) == (0, True)
