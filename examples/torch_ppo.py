"""Reinforcement learning: PPO of stable-baselines3 on CartPole, its networks as they are and replaced in place.

    pip install stable-baselines3 gymnasium
    python examples/torch_ppo.py [--steps 20000] [--seeds 1]

Both ways start from the same seeds, and what is learned is the same up to roundings, which a game magnifies.
"""

import argparse
import statistics
import time

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from fastbp.torch import replace_

WAYS = ("torch", "fastbp.torch")


def learn(way, seed, steps):
    """Return the mean reward of 20 games after learning, the seconds of learning, and what was replaced."""
    model = PPO("MlpPolicy", "CartPole-v1", seed=seed, device="cpu", policy_kwargs={"net_arch": [64, 64]})
    replaced = None
    if way == "fastbp.torch":
        replaced = replace_(model.policy)
    model.policy(torch.zeros(2, 4))[1].sum().backward()  # the first call compiles
    model.policy.zero_grad()
    model.set_random_seed(seed)
    start = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - start
    reward, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=20, warn=False)
    return reward, seconds, replaced


def main(steps=20_000, seeds=1):
    """Learn both ways by turns; print and return the rewards and seconds of each seed."""
    torch.set_num_threads(1)  # these networks are small
    found = {way: {"rewards": [], "seconds": []} for way in WAYS}
    for seed in range(seeds):
        for way in WAYS if seed % 2 == 0 else WAYS[::-1]:
            reward, seconds, replaced = learn(way, seed, steps)
            if replaced and seed == 0:
                print(replaced)
            found[way]["rewards"].append(float(reward))
            found[way]["seconds"].append(seconds)
            print(f"seed {seed}  {way:13} mean reward {reward:5.1f} (500 is the most), {seconds:.1f} s", flush=True)
    for way, figures in found.items():
        reward, seconds = statistics.median(figures["rewards"]), statistics.median(figures["seconds"])
        print(f"median  {way:13} mean reward {reward:5.1f}, {seconds:.1f} s")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    main(options.steps, options.seeds)
