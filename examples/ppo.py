"""Reinforcement learning by hand: PPO (Schulman et al. 2017) on CartPole, in NumPy and two networks of fastbp's.

    pip install gymnasium
    python examples/ppo.py [--seed 0] [--steps 50000]

The policy is a network with a logit for each action, the other network gives the value of a state: the discounted sum
of the rewards from there on. The policy plays for a while, then both learn from what was played. The policy's objective
is not among fastbp's losses, so it learns by `forward`, a gradient in NumPy, `backward` and `update`.
"""

import argparse
import time
from typing import NamedTuple

import gymnasium
import numpy as np

import fastbp

ENVS, LENGTH = 8, 256  # environments side by side, and how many steps of each are a rollout
EPOCHS, BATCH = 10, 64  # passes over each rollout, and rows of an update
GAMMA, LAMBDA = 0.99, 0.95  # discount of rewards, and of surprises (generalised advantage estimation)
CLIP, ENTROPY = 0.2, 0.01  # how far a ratio of probabilities may go, and what a nat of entropy is worth
RATE, NORM = 3e-4, 0.5  # learning rate of Adam, and the largest norm of the gradients


class Rollout(NamedTuple):
    """What was played: arrays of shape (steps, envs, ...); `obs` has one step more."""

    obs: np.ndarray
    logits: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray  # the pole fell in this step
    done: np.ndarray  # it fell, or the game's time was up
    real: np.ndarray  # False where a step only began a new game after one that was done


def trainer_of(sizes, rng):
    """Return the trainer of a network with tanh, whose loss for `step` is the mean square."""
    return fastbp.Trainer(fastbp.mlp(sizes, "tanh", rng=rng), "mse", fastbp.Adam(RATE, eps=1e-5), clip_norm=NORM)


def log_softmax(logits):
    """Return the logarithms of probabilities, of logits (..., actions)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def play(env, policy, obs, done, length, rng):
    """Return a rollout of some length that begins at obs (envs, features); done (envs,) says which games have ended."""
    logits, steps = np.empty((length, env.num_envs, policy.out_features), np.float32), []
    noise = rng.gumbel(size=logits.shape)
    for t in range(length):
        real = ~done
        logits[t] = policy.predict(obs)
        actions = (logits[t] + noise[t]).argmax(axis=1)  # a draw of softmax(logits)
        after, rewards, terminated, truncated, _ = env.step(actions)
        done = terminated | truncated
        steps.append((obs, actions, rewards, terminated, done, real))
        obs = after
    states, *others = map(np.stack, zip(*steps, strict=True))
    return Rollout(np.concatenate([states, obs[None]]), logits, *others)


def advantages_of(rollout, values):
    """Return generalised advantages (steps, envs): how much better each step was than values (steps + 1, envs) said.

    In obs a game's last step is followed by the state in which the game ended, and only then by the next game's first.
    """
    ahead = values[1:] * ~rollout.terminated  # a game whose time was up could have gone on
    surprise = rollout.rewards + GAMMA * ahead - values[:-1]
    advantages, later = np.empty_like(values[:-1]), np.zeros(values.shape[1], values.dtype)
    for t in reversed(range(len(surprise))):
        later = surprise[t] + GAMMA * LAMBDA * ~rollout.done[t] * later
        advantages[t] = later
    return advantages


def policy_gradient(logits, actions, before, advantages):
    """Return the gradient by logits (batch, actions) of the mean over a batch of the clipped objective

        -min(r A, clip(r, 1 - CLIP, 1 + CLIP) A) - ENTROPY H(p),  r = p[action] / exp(before)

    where r tells how much more probable an action is than when it was played, A is its advantage, p = softmax(logits),
    before = log p[action] when it was played, and dr/dlog p[action] = r.
    """
    log_p, rows = log_softmax(logits), np.arange(len(logits))
    p = np.exp(log_p)
    ratio = np.exp(log_p[rows, actions] - before)
    within = np.where(advantages > 0, ratio < 1 + CLIP, ratio > 1 - CLIP)  # else clipped, and the slope is 0
    slope = np.where(within, -ratio * advantages, 0)
    entropy = -(p * log_p).sum(axis=1, keepdims=True)
    gradient = ENTROPY * p * (log_p + entropy) - p * slope[:, None]
    gradient[rows, actions] += slope
    return gradient / len(logits)


def improve(policy, value, rollout, rng):
    """Train both networks on a rollout: EPOCHS passes, each in a new order."""
    values = value.model.predict(rollout.obs.reshape(-1, rollout.obs.shape[-1])).reshape(rollout.obs.shape[:2])
    advantages = advantages_of(rollout, values)
    returns = (advantages + values[:-1])[rollout.real][:, None]
    advantages, obs = advantages[rollout.real], rollout.obs[:-1][rollout.real]
    actions = rollout.actions[rollout.real]
    before = log_softmax(rollout.logits[rollout.real])[np.arange(len(actions)), actions]
    for _ in range(EPOCHS):
        order = rng.permutation(len(obs))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            x, worth = obs[batch], advantages[batch]
            worth = (worth - worth.mean()) / (worth.std() + 1e-8)
            logits = policy.forward(x)
            policy.backward(policy_gradient(logits, actions[batch], before[batch], worth))
            policy.update()
            value.step(x, returns[batch])


def make(envs):
    return gymnasium.make_vec("CartPole-v1", num_envs=envs, vectorization_mode="sync")


def learn(seed, steps):
    """Return a policy that has learnt from so many steps, rounded up to whole rollouts."""
    rng, env = np.random.default_rng(seed), make(ENVS)
    features, actions = env.single_observation_space.shape[0], int(env.single_action_space.n)
    policy, value = (trainer_of([features, 64, 64, outputs], rng) for outputs in (actions, 1))
    policy.model[-1].weight[...] *= 0.01  # so that it begins with all actions equally probable
    obs, done = env.reset(seed=seed)[0], np.zeros(ENVS, bool)
    for _ in range(0, steps, ENVS * LENGTH):
        rollout = play(env, policy.model, obs, done, LENGTH, rng)
        obs, done = rollout.obs[-1], rollout.done[-1]
        improve(policy, value, rollout, rng)
    env.close()
    return policy.model


def mean_reward(policy, games=20, seed=1000):
    """Return the mean reward of games with the best action each time."""
    env = make(games)
    obs, running, total = env.reset(seed=seed)[0], np.ones(games, bool), 0.0
    while running.any():
        obs, rewards, terminated, truncated, _ = env.step(policy.predict(obs).argmax(axis=1))
        total += rewards[running].sum()
        running &= ~(terminated | truncated)
    env.close()
    return total / games


def main(seed=0, steps=50_000):
    """Learn, print and return the mean reward and the seconds of learning."""
    start = time.perf_counter()
    policy = learn(seed, steps)
    seconds, reward = time.perf_counter() - start, mean_reward(policy)
    print(f"seed {seed}  mean reward {reward:5.1f} (500 is the most) after {steps} steps in {seconds:.1f} s")
    return {"reward": reward, "seconds": seconds}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50_000)
    options = parser.parse_args()
    main(options.seed, options.steps)
