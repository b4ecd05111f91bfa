"""The cases in JAX: compiled functions whose parameters are given away, so that they are updated in place.

Calls are waited for once at the end, not each: the best that JAX can do.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fastbp.bench.cases import ADAM_LR, LR, Case, Run

VERSION = jax.__version__
KINDS = ("step", "loop", "cross_entropy", "dense", "predict")
SCANNED = 20  # steps of a loop in one call
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda z: z,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "silu": jax.nn.silu,
}
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def start(threads: int) -> None:
    """Do nothing: its pool has a thread for each CPU that the process may use."""


def _forward(case: Case, params: Any, x: Any) -> Any:
    names = [case.activation] * (len(params) - 1) + [case.output_activation]
    for (w, b), name in zip(params, names, strict=True):
        x = ACTIVATIONS[name](x @ w + b)
    return x


def _cross_entropy(z: Any, y: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1).mean()


def _mse(z: Any, y: Any) -> Any:
    return ((z - y) ** 2).mean()


def _sgd(state: Any, gradients: Any) -> Any:
    return (jax.tree.map(lambda p, g: p - LR * g, state[0], gradients),)


def _adam(state: Any, gradients: Any) -> Any:
    params, m, s, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, gradients)
    s = jax.tree.map(lambda s, g: BETA2 * s + (1 - BETA2) * g * g, s, gradients)
    rate, scale = ADAM_LR / (1 - BETA1**t), 1 / (1 - BETA2**t)
    params = jax.tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s * scale) + EPS), params, m, s)
    return params, m, s, t


def _step(case: Case) -> Callable[[Any, Any, Any], Any]:
    loss = {"mse": _mse, "cross_entropy": _cross_entropy}[case.loss]
    update = {"sgd": _sgd, "adam": _adam}[case.optimizer]

    def step(state: Any, x: Any, y: Any) -> Any:
        value, gradients = jax.value_and_grad(lambda params: loss(_forward(case, params, x), y))(state[0])
        return update(state, gradients), value

    return step


def _training(case: Case, x: Any, y: Any) -> Run:
    step, units = _step(case), 1
    if case.kind == "loop":
        one, units = step, SCANNED

        def step(state: Any, x: Any, y: Any) -> Any:
            return jax.lax.scan(lambda carry, _: one(carry, x, y), state, None, length=SCANNED)

    compiled = jax.jit(step, donate_argnums=0)
    params = jax.tree.map(jnp.asarray, case.weights())
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    state = (params, *zeros, jnp.float32(0)) if case.optimizer == "adam" else (params,)

    def repeat(n: int) -> None:
        nonlocal state
        for _ in range(n):
            state, _ = compiled(state, x, y)
        jax.block_until_ready(state)

    return Run(repeat, units)


def prepare(case: Case) -> Run:
    """Return a case, ready to run."""
    x, y = (jnp.asarray(array) for array in case.inputs())
    if case.kind in ("step", "loop"):
        return _training(case, x, y)
    if case.kind == "cross_entropy":
        call, arguments = jax.jit(jax.value_and_grad(_cross_entropy)), (x, y)
    else:
        params = jax.tree.map(jnp.asarray, case.weights())
        call, arguments = jax.jit(lambda params, x: _forward(case, params, x)), (params, x)

    def repeat(n: int) -> None:
        for _ in range(n):
            result = call(*arguments)
        jax.block_until_ready(result)

    return Run(repeat)
