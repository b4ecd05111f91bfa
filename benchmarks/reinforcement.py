"""PPO and DQN by hand (examples/) beside Stable-Baselines3: mean rewards and seconds, one thread each, by turns.

    python benchmarks/reinforcement.py ppo|dqn [--seeds 0 1 2 3 4] [--steps 50000]

Networks, numbers of environments and hyper-parameters are the example's. What is not the same: Stable-Baselines3 clips
the gradients of both of PPO's networks together, begins with other weights, and does not count the steps of PPO that
begin a game.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import fastbp

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import dqn
import ppo


def peer_ppo(seed):
    return PPO(
        "MlpPolicy", make_vec_env("CartPole-v1", ppo.ENVS), learning_rate=ppo.RATE, n_steps=ppo.LENGTH,
        batch_size=ppo.BATCH, n_epochs=ppo.EPOCHS, gamma=ppo.GAMMA, gae_lambda=ppo.LAMBDA, clip_range=ppo.CLIP,
        ent_coef=ppo.ENTROPY, max_grad_norm=ppo.NORM, seed=seed, device="cpu", policy_kwargs={"net_arch": [64, 64]},
    )  # fmt: skip


def peer_dqn(seed):
    return DQN(
        "MlpPolicy", make_vec_env("CartPole-v1", 1), learning_rate=lambda left: left * dqn.RATE,
        buffer_size=dqn.MEMORY, learning_starts=dqn.FIRST, batch_size=dqn.BATCH, gamma=dqn.GAMMA,
        train_freq=dqn.LEARN_EVERY, gradient_steps=1, target_update_interval=dqn.RENEW_EVERY,
        exploration_fraction=dqn.EXPLORE, exploration_final_eps=dqn.LEAST, max_grad_norm=dqn.NORM, seed=seed,
        device="cpu", policy_kwargs={"net_arch": [128, 128]},
    )  # fmt: skip


EXAMPLES = {"ppo": (ppo, peer_ppo), "dqn": (dqn, peer_dqn)}


def by_peer(make, seed, steps):
    """Return the mean reward of 20 games and the seconds of learning."""
    model = make(seed)
    start = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - start
    return evaluate_policy(model, model.get_env(), n_eval_episodes=20, warn=False)[0], seconds


def by_example(example, seed, steps):
    start = time.perf_counter()
    model = example.learn(seed, steps)
    seconds = time.perf_counter() - start
    return example.mean_reward(model), seconds


def main(name, seeds, steps):
    """Learn with each seed both ways by turns; print rewards and seconds, and the medians."""
    torch.set_num_threads(1)
    fastbp.set_num_threads(1)
    example, make = EXAMPLES[name]
    example.learn(0, steps=2000)  # loads or compiles the kernels
    ways = {"fastbp": lambda seed: by_example(example, seed, steps), "SB3": lambda seed: by_peer(make, seed, steps)}
    found = {way: [] for way in ways}
    for turn, seed in enumerate(seeds):
        for way in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            reward, seconds = ways[way](seed)
            found[way].append((reward, seconds))
            print(f"seed {seed}  {way:6}  mean reward {reward:5.1f}, {seconds:.2f} s", flush=True)
    for way, figures in found.items():
        reward, seconds = map(statistics.median, zip(*figures, strict=True))
        print(f"median  {way:6}  mean reward {reward:5.1f}, {seconds:.2f} s")
    ratios = [peer[1] / own[1] for own, peer in zip(*found.values(), strict=True)]
    print(f"times as fast: median {statistics.median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=EXAMPLES)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--steps", type=int, default=50_000)
    options = parser.parse_args()
    main(options.name, options.seeds, options.steps)
