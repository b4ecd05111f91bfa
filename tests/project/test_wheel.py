"""The wheel with the real prebuilt kernels works from its own dependencies, in an environment without Numba.

FASTBP_WHEEL names the wheel; `make test-native` builds one and sets it.
"""

import os
import sys
import venv
from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Install the wheel and what it depends on, nothing else."""
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


def test_its_command_line_trains_and_predicts(python, tmp_path):
    fastbp = Path(python).with_name("fastbp")
    run(fastbp, "train", "digits", "--epochs", "1", "--out", "run", cwd=tmp_path)
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert "native" in run(fastbp, "info", cwd=tmp_path)
