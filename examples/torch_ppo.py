"""Reinforcement learning: PPO of stable-baselines3 on CartPole, its networks as they are and replaced in place.

    pip install stable-baselines3 gymnasium
    python examples/torch_ppo.py [--steps 20000]

Seeds are the same, and so is what is learned, up to roundings, which a game magnifies.
"""

import argparse
import time

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from fastbp.torch import replace_


def main(steps=20_000):
    """Learn both ways; print and return the mean reward of 20 games and the seconds of learning."""
    torch.set_num_threads(1)  # these networks are small
    found = {}
    for name in ("torch", "fastbp.torch"):
        model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [64, 64]})
        if name == "fastbp.torch":
            print(replace_(model.policy))
            model.policy(torch.zeros(2, 4))[1].sum().backward()  # the first call compiles
            model.policy.zero_grad()
        model.set_random_seed(0)
        start = time.perf_counter()
        model.learn(steps)
        seconds = time.perf_counter() - start
        reward, spread = evaluate_policy(model, model.get_env(), n_eval_episodes=20, warn=False)
        print(f"{name:13} mean reward {reward:.1f} ± {spread:.1f} (500 is the most), {seconds:.1f} s")
        found[name] = {"reward": reward, "seconds": seconds}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    main(parser.parse_args().steps)
