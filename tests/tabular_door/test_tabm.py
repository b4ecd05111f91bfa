"""TabM's recipe and estimators: its network, the average of its members, and what choosing an epoch goes by."""

import numpy as np
import pytest

import fastbp
from fastbp.tables.recipes.calibration import temperature
from fastbp.tables.recipes.names import PRESETS
from fastbp.tables.recipes.recipe import Layout

SMALL = {"members": 5, "hidden": [24, 24], "epochs": 6, "batch_size": 64, "lr": 0.01, "random_state": 3}


@pytest.fixture(autouse=True, scope="module")
def _libraries(library):
    library("sklearn")
    library("pyarrow")


def data(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 4))
    return x, (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int), x[:, 0] - 2 * x[:, 3] + 5


def test_the_recipe_is_that_of_the_defaults():
    recipe = PRESETS["tabm"]["regression"]
    network = recipe.make_network(Layout(7, 7), 2, "float32", 0)
    kinds = ["Members", *["Dense", "Dropout"] * 3, "MemberDense"]
    assert [type(layer).__name__ for layer in network] == kinds
    assert (network.members, network.out_features, network[1].out_features, network[2].p) == (32, 64, 512, 0.1)
    assert set(np.unique(network[0].weight)) == {-1.0, 1.0}
    for layer in (network[1], network[3], network[7]):
        edge = layer.in_features**-0.5
        assert 0.9 * edge < np.abs(layer.weight).max() <= edge * (1 + 1e-6)
        assert 0.8 * edge < np.abs(layer.bias).max() <= edge * (1 + 1e-6)
    optimizer = recipe.make_optimizer(network)
    assert (type(optimizer), optimizer.lr, recipe.batch_size) == (fastbp.AdamW, 2e-3, 256)


def test_probabilities_and_quantities_are_averages_of_the_members():
    from fastbp.tabular import TabMClassifier, TabMRegressor

    x, labels, quantities = data()
    model = TabMClassifier(**SMALL).fit(x, labels)
    table = model.model_
    import pyarrow as pa

    z = table.network.predict(table.encoder.transform(table.read(pa.table({f"x{j}": x[:, j] for j in range(4)}))))
    each = np.exp(z.reshape(300, 5, 2).astype(np.float64))
    p = (each / each.sum(axis=2, keepdims=True)).mean(axis=1)
    np.testing.assert_allclose(model.predict_proba(x), p, rtol=0, atol=1e-6)
    assert model.score(x, labels) > 0.75
    model = TabMRegressor(**SMALL).fit(x, quantities)
    z = model.model_.network.predict(
        model.model_.encoder.transform(model.model_.read(pa.table({f"x{j}": x[:, j] for j in range(4)})))
    )
    np.testing.assert_allclose(
        model.predict(x), model.model_.quantities(z.mean(axis=1, keepdims=True))[:, 0], rtol=1e-5
    )
    assert model.score(x, quantities) > 0.7


def test_the_same_seed_gives_the_same_bits_on_any_threads_and_in_a_file(tmp_path):
    import pyarrow as pa

    from fastbp.tabular import TabMClassifier

    x, y, _ = data()
    first, second = (TabMClassifier(**SMALL, n_jobs=jobs).fit(x, y) for jobs in (1, 2))
    assert first.predict_proba(x).tobytes() == second.predict_proba(x).tobytes()
    first.model_.save(tmp_path / "m")
    loaded = fastbp.TableModel.load(tmp_path / "m")
    frame = pa.table({f"x{j}": x[:, j] for j in range(4)})
    assert loaded.predict_proba(frame).tobytes() == first.predict_proba(x).tobytes()


def test_the_best_epoch_is_that_of_the_average_and_of_equal_ones_the_first():
    from fastbp.tabular import TabMClassifier, TabMRegressor

    x, y, quantities = data()
    model = TabMRegressor(**SMALL).fit(x, quantities)
    assert model.best_epoch_ == 1 + int(np.argmin(model.history_["val_rmse"]))
    assert (np.sqrt(model.history_["val_loss"]) >= model.history_["val_rmse"]).all()  # the mean of squares is above
    model = TabMClassifier(**SMALL | {"lr": 1e-12, "epochs": 40, "patience": 4}).fit(x, y)
    assert (model.best_epoch_, model.n_iter_) == (1, 5)


def test_a_temperature_is_where_the_cross_entropy_of_the_average_is_least():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 500)
    z = rng.standard_normal((500, 4, 3)) * 4
    z[np.arange(500), :, y] += 4

    def loss(t):
        e = np.exp(z / t - (z / t).max(axis=2, keepdims=True))
        p = (e / e.sum(axis=2, keepdims=True)).mean(axis=1)
        return -np.log(p[np.arange(500), y]).mean()

    found = temperature(z.reshape(500, 12), y, members=4)
    assert abs(found - 1) > 0.05
    assert loss(found) < min(loss(found * 1.05), loss(found / 1.05)) + 1e-4


def test_calibration_divides_the_logits_of_the_members():
    from fastbp.tabular import TabMClassifier

    x, y, _ = data()
    plain, calibrated = TabMClassifier(**SMALL).fit(x, y), TabMClassifier(**SMALL, calibration="temperature").fit(x, y)
    assert calibrated.temperature_ != 1
    head, other = plain.model_.network[-1], calibrated.model_.network[-1]
    np.testing.assert_allclose(other.weight * calibrated.temperature_, head.weight, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"), [({"members": 0}, "members of at least 1"), ({"members": 300}, "members of at most 256")]
)
def test_numbers_out_of_range_are_refused(options, message):
    from fastbp.tabular import TabMRegressor

    x, _, quantities = data()
    with pytest.raises(ValueError, match=f"TabMRegressor expects {message}"):
        TabMRegressor(**SMALL | options).fit(x, quantities)
