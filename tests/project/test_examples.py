"""The scripts in examples/ run, and find what they say. `test_lecture` has the lecture's numbers."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastbp

FOLDER = Path(__file__).parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_from_scratch_is_the_same_before_and_after(capsys):
    numbers = example("from_scratch").main(epochs=10)
    assert numbers["apart"] < 1e-3  # roundings, through 120 steps
    assert min(numbers["accuracy"]) > 0.9
    assert "fastbp.kernels" in capsys.readouterr().out


def test_from_scratch_gradients_agree():
    module = example("from_scratch")
    rng = np.random.default_rng(0)
    shapes = (32, 64), (64, module.HIDDEN), (module.HIDDEN,), (module.HIDDEN, module.CLASSES), (module.CLASSES,)
    x, w1, b1, w2, b2 = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes)
    hidden, logits = module.forward(x, w1, b1, w2, b2)
    fast_hidden, fast_logits = module.fast_forward(x, w1, b1, w2, b2)
    np.testing.assert_allclose(fast_hidden, hidden, atol=1e-4)
    np.testing.assert_allclose(fast_logits, logits, atol=1e-3)
    dlogits = module.loss_gradient(logits, rng.integers(0, module.CLASSES, 32))
    before = module.backward(x, hidden, dlogits, w1, w2)
    for a, b in zip(module.fast_backward(x, hidden, dlogits, w1, w2), before, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_keras_words_learn_digits(capsys):
    found = example("keras_words").main(epochs=20)
    assert found["figures"]["accuracy"] > 0.95
    assert found["same"]
    assert "accuracy" in capsys.readouterr().out


def test_slopes_teach_more_than_values_alone(capsys):
    found = example("sobolev").main(steps=300)
    assert found["apart"] < 1e-6
    assert found["errors"]["values and slopes"] < 0.5 * found["errors"]["values alone"]
    assert "root mean square error" in capsys.readouterr().out


def test_optimizers_go_where_the_picture_shows(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    found = example("optimizers").main(tmp_path / "optimizers.png")
    assert (tmp_path / "optimizers.png").stat().st_size > 50_000
    assert set(found) == {"bowl", "two_minima", "saddle"}
    ends = {on: {name: places[-1] for name, places in paths.items()} for on, paths in found.items()}
    assert ends["two_minima"]["sgd"][0] > 1
    assert ends["two_minima"]["momentum"][0] < -1  # it rolls over the hill
    assert all(abs(end[1]) > 1 for end in ends["saddle"].values())  # all leave it
    assert all(np.hypot(*end) < 0.5 for name, end in ends["bowl"].items() if name not in ("rmsprop", "lion"))
    assert "saddle ends at" in capsys.readouterr().out


def test_a_torch_script_learns_the_same_with_the_import_changed(torch, capsys):
    found = example("torch_fashion_mnist").main(epochs=3)
    before, after = found["torch"], found["fastbp.torch"]
    np.testing.assert_allclose(after["losses"], before["losses"], rtol=1e-3)
    assert abs(after["accuracy"] - before["accuracy"]) < 0.01
    assert "s/epoch" in capsys.readouterr().out


def test_ppo_learns_both_ways_the_same(peer, capsys):
    peer("stable_baselines3")
    found = example("torch_ppo").main(steps=2048, seeds=2)
    before, after = found["torch"], found["fastbp.torch"]
    assert len(before["seconds"]) == len(after["seconds"]) == 2
    np.testing.assert_allclose(after["rewards"], before["rewards"], rtol=0.1)
    out = capsys.readouterr().out
    assert out.count("fused ") == 2
    assert out.count("seed 1") == 2
    assert out.count("median") == 2


def test_ppo_by_hand_learns(peer, capsys):
    peer("gymnasium")
    found = example("ppo").main(seed=0, steps=10_000)
    assert found["reward"] > 200  # at random 20
    assert "after 10000 steps" in capsys.readouterr().out


def test_ppo_by_hand_has_the_gradient_of_its_objective(peer):
    peer("gymnasium")
    ppo, rng = example("ppo"), np.random.default_rng(0)
    logits, advantages = rng.normal(size=(50, 3)), rng.normal(size=50)
    actions, rows = rng.integers(3, size=50), np.arange(50)
    before = ppo.log_softmax(logits)[rows, actions] + rng.normal(scale=0.3, size=50)  # some ratios are clipped

    def objective(logits):
        log_p = ppo.log_softmax(logits)
        ratio = np.exp(log_p[rows, actions] - before)
        clipped = np.clip(ratio, 1 - ppo.CLIP, 1 + ppo.CLIP)
        entropy = -(np.exp(log_p) * log_p).sum(axis=1)
        return (-np.minimum(ratio * advantages, clipped * advantages) - ppo.ENTROPY * entropy).mean()

    found = ppo.policy_gradient(logits, actions, before, advantages)
    for at in np.ndindex(logits.shape):
        nudge = np.zeros_like(logits)
        nudge[at] = 1e-6
        difference = (objective(logits + nudge) - objective(logits - nudge)) / 2e-6
        np.testing.assert_allclose(found[at], difference, atol=1e-9)


def test_ppo_by_hand_has_the_advantages_of_their_definition(peer):
    peer("gymnasium")
    ppo, rng = example("ppo"), np.random.default_rng(0)
    steps, values, rewards = 6, rng.normal(size=(7, 2)), rng.normal(size=(6, 2))
    terminated, done = np.zeros((2, 6, 2), bool)
    terminated[2, 0] = done[2, 0] = done[3, 1] = True  # the second game's time was up
    rollout = ppo.Rollout(None, None, None, rewards, terminated, done, None)
    found = ppo.advantages_of(rollout, values)
    for t, game in np.ndindex(found.shape):
        expected, factor = 0.0, 1.0
        for k in range(t, steps):
            ahead = 0 if terminated[k, game] else ppo.GAMMA * values[k + 1, game]
            expected += factor * (rewards[k, game] + ahead - values[k, game])
            factor *= ppo.GAMMA * ppo.LAMBDA
            if done[k, game]:
                break
        np.testing.assert_allclose(found[t, game], expected)


def test_dqn_by_hand_learns(peer, capsys):
    peer("gymnasium")
    found = example("dqn").main(seed=0, steps=8000)
    assert found["reward"] > 60  # at random 20, with one action 9
    assert "after 8000 steps" in capsys.readouterr().out


def test_dqn_by_hand_explores_less_and_less_and_forgets_the_oldest_step(peer):
    peer("gymnasium")
    dqn = example("dqn")
    found = [dqn.epsilon(progress) for progress in (0, dqn.EXPLORE / 2, dqn.EXPLORE, 1)]
    assert found == pytest.approx([1, (1 + dqn.LEAST) / 2, dqn.LEAST, dqn.LEAST])
    dqn.MEMORY, dqn.BATCH = 5, 200
    memory = dqn.Memory(features=2)
    for i in range(7):
        memory.add([i, i], i % 2, i, [i + 1, i + 1], i == 6)
    obs, actions, rewards, after, ended = memory.draw(np.random.default_rng(0))
    assert set(rewards) == {2, 3, 4, 5, 6}
    np.testing.assert_array_equal(obs, rewards[:, None] + np.zeros(2))
    np.testing.assert_array_equal(after, obs + 1)
    np.testing.assert_array_equal(actions, rewards % 2)
    np.testing.assert_array_equal(ended, rewards == 6)


def test_dqn_by_hand_learns_of_the_actions_that_were_taken(peer):
    peer("gymnasium")
    dqn, rng = example("dqn"), np.random.default_rng(0)
    model, target = (fastbp.mlp([4, 8, 2], rng=seed) for seed in (0, 1))
    obs, after = rng.normal(size=(2, 30, 4)).astype(np.float32)
    actions, rewards, ended = rng.integers(2, size=30), rng.normal(size=30, scale=2), rng.random(30) < 0.5
    values = model.predict(obs)[np.arange(30), actions]
    apart = values - np.where(ended, rewards, rewards + dqn.GAMMA * target.predict(after).max(axis=1))
    slopes = np.clip(apart, -1, 1) / 30
    dqn.update(fastbp.Trainer(model, "huber"), target, (obs, actions, rewards, after, ended))
    found = model.gradients()["1.bias"]
    np.testing.assert_allclose(found, [slopes[actions == a].sum() for a in range(2)], atol=1e-6)
