"""The wheel with the real prebuilt kernels works from its own dependencies, in an environment without Numba.

FASTBP_WHEEL names the wheel; `make test-native` builds one and sets it. Or FASTBP_WHEEL_PYTHON names the Python of such
an environment, which may be of another machine; `make test-arm` does that.
"""

import os
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.project.builds import run

TRAIN = """
import os
import numpy as np, fastbp
x, y = fastbp.load_digits()

def trainer():
    return fastbp.Trainer(fastbp.mlp([64, 32, 10], activation="gelu", rng=0), optimizer=fastbp.Adam(1e-2))

whole, first = trainer(), trainer()
whole.fit(x / 16, y, epochs=3, rng=0, progress=False)
first.fit(x / 16, y, epochs=2, rng=0, progress=False)
first.save_checkpoint("checkpoint.safetensors")
resumed = fastbp.Trainer.load_checkpoint("checkpoint.safetensors")
resumed.fit(x / 16, y, epochs=3, resume=True, progress=False)
outputs = whole.model.predict(x / 16)
assert (outputs.argmax(1) == y).mean() > 0.8
assert np.array_equal(resumed.model.predict(x / 16), outputs)
child = os.fork()
if child == 0:
    os._exit(not np.array_equal(resumed.model.predict(x / 16), outputs))
assert os.waitpid(child, 0)[1] == 0
print(fastbp.config()["kernels"].split(",")[0])
"""
OWN_LOSS = """
import numpy as np, fastbp

@fastbp.row_loss
def squares(z, target, dz):
    dz[0] = z[0] - target[0]
    return dz[0] ** 2 / 2

trainer = fastbp.Trainer(fastbp.mlp([2, 3, 1], rng=0), squares, fastbp.Adam())
before = trainer.model.state_dict()
x, y, rng = np.ones((4, 2)), np.ones((4, 1)), np.random.default_rng(0)
for call in (lambda: trainer.step(x, y), lambda: trainer.fit(x, y, rng=rng, progress=False),
             lambda: trainer.evaluate(x, y)):
    try:
        call()
    except ImportError as error:
        assert "pip install 'fastbp[jit]'" in str(error)
    else:
        raise AssertionError("a loss was compiled without Numba")
after = trainer.model.state_dict()
assert all(np.array_equal(before[name], after[name]) for name in before)
assert trainer.history.epochs == 0
assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
fastbp.Trainer(trainer.model, "mse", trainer.optimizer).step(x, y)  # goes on with what is there
"""
SKLEARN = """
import pickle
import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor
x, y = fastbp.load_digits()
model = MLPClassifier((32,), learning_rate_init=0.01, max_iter=8, random_state=0).fit(x / 16, y)
assert pickle.loads(pickle.dumps(model)).score(x / 16, y) > 0.8
MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=8).fit(x / 16, y).predict(x / 16)
"""
TORCH = """
import torch
from fastbp.torch import MLP, CrossEntropyLoss, replace_
torch.manual_seed(0)
x, y = torch.randn(64, 20), torch.arange(64) % 3
modules = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
assert replace_(modules).replaced
for model in (MLP([20, 8, 3]), modules):
    optimizer, criterion = torch.optim.Adam(model.parameters(), 0.05), CrossEntropyLoss()
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(criterion(model(x), y))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
"""


def link(folder, *names):
    """Link installed distributions and what they depend on into a folder, for PYTHONPATH."""
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        distribution = metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files} - {"..", "__pycache__"}:
            (folder / top).symlink_to(distribution.locate_file(top))
        needs = map(Requirement, distribution.requires or [])
        left += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return folder


def without_numba(python, code, libraries, cwd):
    """Run a program that sees libraries beside the wheel, and see that Numba is none of them."""
    code += """
import importlib.util, fastbp
assert importlib.util.find_spec("numba") is None
print(fastbp.config()["kernels"])
"""
    return run(python, "-c", code, cwd=cwd, PYTHONPATH=libraries, PYTHONWARNINGS="ignore")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Install the wheel and what it depends on, nothing else."""
    if installed := os.environ.get("FASTBP_WHEEL_PYTHON"):
        return Path(installed)
    wheel = os.environ.get("FASTBP_WHEEL")
    if not wheel:
        pytest.skip("FASTBP_WHEEL names no wheel")
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    run(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", wheel, cwd=folder)
    return folder / "bin" / "python"


def test_its_dependencies_do_not_bring_numba(python, tmp_path):
    code = "from importlib.util import find_spec; print(find_spec('numpy') is None, find_spec('numba') is None)"
    assert run(python, "-c", code, cwd=tmp_path) == "False True"


def test_it_trains_predicts_resumes_and_forks(python, tmp_path):
    assert run(python, "-W", "error", "-c", TRAIN, cwd=tmp_path) == "native"


def test_a_loss_of_ones_own_is_refused_by_the_name_of_the_extra_and_changes_nothing(python, tmp_path):
    (tmp_path / "program.py").write_text(OWN_LOSS)
    run(python, "program.py", cwd=tmp_path)


def test_its_command_line_trains_resumes_evaluates_predicts_and_measures(python, tmp_path):
    fastbp, model = Path(python).with_name("fastbp"), "run/model.safetensors"
    run(fastbp, "train", "digits", "--epochs", "2", "--out", "run", cwd=tmp_path)
    assert "goes on to 8" in run(fastbp, "train", "digits", "--epochs", "8", "--out", "run", "--resume", cwd=tmp_path)
    assert "accuracy" in run(fastbp, "evaluate", model, "digits", cwd=tmp_path)
    run(fastbp, "predict", model, "digits", "--out", "answers.csv", cwd=tmp_path)
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 1 + 1797
    assert "20-10-3" in run(fastbp, "bench", "20,10,3", "--seconds", "0", cwd=tmp_path)
    assert "prebuilt" in run(fastbp, "warmup", cwd=tmp_path)
    assert "native" in run(fastbp, "info", cwd=tmp_path)


def test_its_door_for_scikit_learn_fits_and_predicts(python, library, tmp_path):
    library("sklearn")
    assert without_numba(python, SKLEARN, link(tmp_path, "scikit-learn"), tmp_path).startswith("native")


def test_its_door_for_pytorch_takes_steps(python, peer, tmp_path):
    peer("torch")
    assert without_numba(python, TORCH, link(tmp_path, "torch"), tmp_path).startswith("native")
