"""The lecture's numbers, each a claim."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp

FILE = Path(__file__).parents[2] / "examples" / "lecture.py"


@pytest.fixture(scope="module")
def lecture():
    spec = importlib.util.spec_from_file_location("lecture", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_entropy_of_a_coin_and_of_a_die(lecture):
    numbers = lecture.information()
    assert numbers["coin"] == pytest.approx(0.693, abs=5e-4)
    assert numbers["die"] == pytest.approx(1.79, abs=5e-3)


def test_the_surer_the_outcome_the_smaller_the_entropy(lecture):
    numbers = lecture.information()
    assert numbers["sure"] == 0 < numbers["loaded"] < numbers["die"]


@pytest.mark.parametrize(("mean", "expected", "digits"), [(4, 0.108, 3), (5, 0.7979, 4)])
def test_density_at_5_of_a_normal_with_sd_one_half(lecture, mean, expected, digits):
    assert round(lecture.density(5, mean, 0.5), digits) == expected


def test_log_likelihood_lives_where_the_likelihood_underflows(lecture):
    numbers = lecture.likelihood()
    assert numbers["product"] == 0
    assert math.isfinite(numbers["log-likelihood"])


def test_descent_moves_the_mean_of_a_normal_to_that_of_the_data(lecture):
    numbers = lecture.descent()
    distance = np.abs(np.array(numbers["path"]) - numbers["data"])
    # The gradient is (mean - data mean) / sd², so each step of 0.05 leaves 1 - 0.05 / 0.25 = 0.8 of the distance.
    assert distance[1:] == pytest.approx(0.8 * distance[:-1], rel=1e-6)
    assert distance[-1] < 1e-4


def test_forecasts_that_both_say_sun_differ_in_cross_entropy(lecture):
    numbers = lecture.forecast()
    assert numbers["said"] == [1, 1]
    assert round(numbers["confident"], 3) == 0.139
    assert round(numbers["shy"], 3) == 1.079
    assert numbers["from logits"] == pytest.approx([numbers["confident"], numbers["shy"]], rel=1e-14)


def test_soft_targets_cost_their_own_entropy_and_the_divergence(lecture):
    numbers = lecture.soft_targets()
    q, p = [0.0, 0.75, 0.25], [0.02, 0.87, 0.11]
    assert numbers["loss"] == pytest.approx(numbers["least"] + fastbp.kl_divergence(q, p), rel=1e-14)
    assert np.abs(numbers["gradient"]).max() < 1e-15
    assert numbers["smooth"] == pytest.approx(numbers["by hand"], rel=1e-14)


def test_back_propagation_by_hand_and_by_layers_agree(lecture):
    numbers = lecture.back_propagation()
    for by_hand, by_layer in zip(numbers["hand"], numbers["layers"], strict=True):
        assert by_layer == pytest.approx(by_hand, rel=1e-13, abs=1e-15)


def test_a_step_updates_all_layers_at_once_and_lowers_the_loss(lecture):
    numbers = lecture.back_propagation()
    assert numbers["update"] < 1e-15
    assert numbers["before"] == numbers["layers"][0]  # the step's loss is the one before the update
    assert numbers["after"] < numbers["before"]


def test_the_network_learns(lecture):
    numbers = lecture.training()
    assert numbers["first"]["accuracy"] < 0.3
    assert numbers["last"]["accuracy"] > 0.95


def test_the_lecture_runs_and_prints_its_numbers(tmp_path):
    done = subprocess.run([sys.executable, FILE], capture_output=True, text=True, check=True, cwd=tmp_path)
    for number in ("0.693", "1.79", "0.108", "0.7979", "0.139", "1.079"):
        assert number in done.stdout
    assert not done.stderr
