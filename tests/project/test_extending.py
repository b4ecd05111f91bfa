"""docs/extending.md as one program, in a file outside the package that registers one of each."""

import copy
import pickle
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.kernels import losses as loss_table
from fastbp.kernels import optimizers as rule_table
from fastbp.kernels import reference
from fastbp.kernels.ops.registry import KINDS
from fastbp.nn import layers, losses
from fastbp.nn.layer import LAYERS
from fastbp.train import optimizers
from tests.kernels.graphs import Network, dense, of_kind

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
TABLES = [
    loss_table.LOSSES, loss_table.BY_CODE, rule_table.RULES, rule_table.BY_CODE, rule_table.registry.STATE_ARRAYS,
    losses.LOSSES, losses.KINDS, optimizers.OPTIMIZERS, optimizers.KINDS, KINDS, LAYERS,
]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Run the page's blocks as a file; return its names. What it registers is taken back afterwards."""
    folder = tmp_path_factory.mktemp("outside")
    path = folder / "own_parts.py"
    path.write_text("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), encoding="utf-8")
    before = [dict(table) for table in TABLES]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield runpy.run_path(str(path))
    del layers.UnitRMS
    for table, entries_before in zip(TABLES, before, strict=True):
        table.clear()
        table.update(entries_before)


def test_the_page_trains_saves_resumes_and_predicts(page, tmp_path):
    model = page["resumed"].model
    model.save(tmp_path / "m")
    again = fastbp.load(tmp_path / "m", activations=[page["own"]])
    assert again.predict(page["x"]).tobytes() == page["whole"].model.predict(page["x"]).tobytes()
    for layer in (again[1], copy.deepcopy(model)[1], pickle.loads(pickle.dumps(model[1]))):
        assert repr(layer) == "UnitRMS(0.001)"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 7, 100])
def test_its_loss_is_its_twin(page, columns, dtype):
    rng = np.random.default_rng(columns)
    z, t = rng.standard_normal((2, 33, columns)).astype(dtype)
    loss = page["SoftL1Loss"](width=0.5)
    value, gradient = loss.evaluate(z, t)
    code, nothing = loss._code, np.zeros(0, dtype)
    rows, exact = np.zeros((3, 33)), np.empty_like(z, np.float64)
    wide = z.astype(np.float64), nothing, t.astype(np.float64)
    assert value == pytest.approx(
        reference.loss_and_gradient(code, *wide, nothing, loss.options(), nothing, rows, 1, exact), rel=1e-5
    )
    np.testing.assert_allclose(gradient, exact, rtol=1e-4, atol=1e-9)
    assert loss_table.BY_CODE[code].name == "soft_l1"


@pytest.mark.parametrize("by_rows", [True, False], ids=["by rows", "op after op"])
def test_its_kind_of_layer_trains_to_the_gradients_of_differences(page, by_rows):
    rows = [dense(20, 33, "tanh"), of_kind(page["UNIT_RMS"], 33), dense(33, 7)]
    network = Network(rows, np.float64, batch=37, by_rows=by_rows, lr=0.0)
    np.testing.assert_allclose(network.predict(), network.twin(), rtol=1e-12, atol=1e-13)
    network.step()
    found = network.grads.copy()
    for i in np.random.default_rng(0).integers(0, network.params.size, 20):
        values = []
        for eps in (1e-6, -1e-6):
            network.params[i] += eps
            values.append(network.step())
            network.params[i] -= eps
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(found[i], rel=1e-6, abs=1e-8)
