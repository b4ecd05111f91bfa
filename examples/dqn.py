"""Reinforcement learning by hand: DQN (Mnih et al. 2015) on CartPole, in NumPy and a network of fastbp's.

    pip install gymnasium
    python examples/dqn.py [--seed 0] [--steps 50000]

The network gives the value of each action: the discounted sum of the rewards that follow. It learns from steps drawn
from a memory, towards the reward plus the discounted value of the best next action. That is computed by the target
network, a copy which is renewed now and then. Of the outputs only that of the action which was taken has a gradient.

What is learnt goes up and down, here as with other programs for DQN: another seed may end at 60 instead of 500.
"""

import argparse
import copy
import time

import gymnasium
import numpy as np

import fastbp

FIRST, LEARN_EVERY, RENEW_EVERY = 1000, 2, 100  # steps before the first update, between updates, between targets
MEMORY, BATCH = 100_000, 64  # steps that are kept, and steps of an update
GAMMA, RATE, NORM = 0.99, 2.3e-3, 10.0  # discount of rewards, first learning rate of Adam, largest norm of gradients
EXPLORE, LEAST = 0.16, 0.04  # the part of all steps in which epsilon goes down from 1, and where it ends


class Memory:
    """The last steps that were played: a ring of rows."""

    def __init__(self, features):
        self.obs, self.after = np.empty((2, MEMORY, features), np.float32)
        self.actions, self.rewards = np.empty(MEMORY, np.int64), np.empty(MEMORY, np.float32)
        self.ended = np.empty(MEMORY, bool)
        self.added = 0

    def add(self, obs, action, reward, after, ended):
        row = self.added % MEMORY
        self.obs[row], self.actions[row], self.rewards[row] = obs, action, reward
        self.after[row], self.ended[row] = after, ended
        self.added += 1

    def draw(self, rng):
        """Return BATCH of the steps, at random."""
        rows = rng.integers(min(self.added, MEMORY), size=BATCH)
        return self.obs[rows], self.actions[rows], self.rewards[rows], self.after[rows], self.ended[rows]


def epsilon(progress):
    """Return the probability of an action at random, where progress is the part of all steps that is done."""
    return max(1 - (1 - LEAST) * progress / EXPLORE, LEAST)


def update(trainer, target, batch):
    """Take a step towards what the target network expects: Huber loss of the values of the actions that were taken."""
    obs, actions, rewards, after, ended = batch
    expected = rewards + GAMMA * ~ended * target.predict(after).max(axis=1)
    values, rows = trainer.forward(obs), np.arange(len(obs))
    _, slope = fastbp.huber_loss(values[rows, actions], expected)
    gradient = np.zeros_like(values)
    gradient[rows, actions] = slope
    trainer.backward(gradient)
    trainer.update()


def learn(seed, steps):
    """Return a network that has learnt from so many steps."""
    rng, env = np.random.default_rng(seed), gymnasium.make("CartPole-v1")
    features, actions = env.observation_space.shape[0], int(env.action_space.n)
    model, adam = fastbp.mlp([features, 128, 128, actions], rng=rng), fastbp.Adam(fastbp.schedules.linear(RATE))
    trainer = fastbp.Trainer(model, "huber", adam, clip_norm=NORM, total_steps=max(steps // LEARN_EVERY, 1))
    target, memory = copy.deepcopy(model), Memory(features)
    obs, _ = env.reset(seed=seed)
    for step in range(1, steps + 1):
        if rng.random() < epsilon(step / steps):
            action = rng.integers(actions)
        else:
            action = model.predict(obs[None])[0].argmax()
        after, reward, terminated, truncated, _ = env.step(action)
        memory.add(obs, action, reward, after, terminated)  # a game whose time was up could have gone on
        obs = env.reset()[0] if terminated or truncated else after
        if step > FIRST and step % LEARN_EVERY == 0:
            update(trainer, target, memory.draw(rng))
        if step % RENEW_EVERY == 0:
            target.load_state_dict(model.state_dict())
    env.close()
    return model


def mean_reward(model, games=20, seed=1000):
    """Return the mean reward of games with the best action each time."""
    env = gymnasium.make_vec("CartPole-v1", num_envs=games, vectorization_mode="sync")
    obs, running, total = env.reset(seed=seed)[0], np.ones(games, bool), 0.0
    while running.any():
        obs, rewards, terminated, truncated, _ = env.step(model.predict(obs).argmax(axis=1))
        total += rewards[running].sum()
        running &= ~(terminated | truncated)
    env.close()
    return total / games


def main(seed=0, steps=50_000):
    """Learn, print and return the mean reward and the seconds of learning."""
    start = time.perf_counter()
    model = learn(seed, steps)
    seconds, reward = time.perf_counter() - start, mean_reward(model)
    print(f"seed {seed}  mean reward {reward:5.1f} (500 is the most) after {steps} steps in {seconds:.1f} s")
    return {"reward": reward, "seconds": seconds}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50_000)
    options = parser.parse_args()
    main(options.seed, options.steps)
