"""Members: rows that share a network, each with a loss of its own and its own last layer, as in TabM-mini."""

import copy
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Dropout, MemberDense, Members, MSELoss, Sequential, Trainer


def network(features=5, members=3, outputs=2, dtype="float64", width=7, p=0.0):
    return Sequential(
        Members(features, members, rng=0, dtype=dtype),
        Dense(features, width, "relu", rng=1, dtype=dtype),
        *[Dropout(p)] * (p > 0),
        Dense(width, width, "tanh", rng=2, dtype=dtype),
        MemberDense(width, outputs, members, rng=3, dtype=dtype),
    )


def data(rows=21, features=5, outputs=2, labels=True, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, features)), rng.integers(0, outputs, rows) if labels else rng.random(
        (rows, outputs)
    )


@fastbp.row_loss
def squared(z, target, dz):
    loss = 0.0
    for i in range(z.size):
        dz[i] = 2 * (z[i] - target[i])
        loss += (z[i] - target[i]) ** 2
    return loss


LOSSES = {
    "cross-entropy": (fastbp.CrossEntropyLoss(), lambda t: t.nn.CrossEntropyLoss(reduction="none"), True),
    "smoothed": (
        fastbp.CrossEntropyLoss(label_smoothing=0.1), lambda t: t.nn.CrossEntropyLoss(label_smoothing=0.1,
        reduction="none"), True,
    ),
    "mse": (MSELoss(), lambda t: lambda z, y: ((z - y) ** 2).mean(axis=1), False),
    "a row loss": (squared, lambda t: lambda z, y: ((z - y) ** 2).sum(axis=1), False),
    "bce": (
        fastbp.BCEWithLogitsLoss(), lambda t: lambda z, y: t.nn.BCEWithLogitsLoss(reduction="none")(z, y).mean(axis=1),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("members", "features", "rows"), [(1, 1, 1), (3, 5, 7), (32, 5, 1), (33, 1, 256)])
def test_a_step_is_pytorchs_with_the_mean_of_the_members_losses(name, members, features, rows, torch):
    loss, in_torch, labels = LOSSES[name]
    model = network(features, members)
    x, y = data(rows, features, labels=labels)
    weight = np.random.default_rng(1).random(rows) + 0.5
    module = model.to_torch()
    z = module(torch.tensor(x)).reshape(rows * members, 2)
    of_rows = in_torch(torch)(z, torch.tensor(np.repeat(y, members, axis=0)))
    expected = (of_rows.reshape(rows, members).mean(axis=1) * torch.tensor(weight)).sum() / weight.sum()
    expected.backward()
    trainer = Trainer(model, loss, fastbp.SGD(0.1))
    assert trainer.evaluate(x, y, weight)["loss"] == pytest.approx(expected.item(), rel=1e-12)
    before = model.state_dict()
    assert fastbp.from_torch(module).predict(x).tobytes() == model.predict(x).tobytes()
    assert trainer.step(x, y, weight) == pytest.approx(expected.item(), rel=1e-12)
    for (key, value), p in zip(model.parameters().items(), module.parameters(), strict=True):
        np.testing.assert_allclose(value, before[key] - 0.1 * p.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", [fastbp.CrossEntropyLoss(weight=[1.0, 3.0]), "gaussian_nll"])
def test_gradients_are_differences(loss):
    labels = loss != "gaussian_nll"
    x, y = data(6, labels=labels, outputs=2 if labels else 1)
    assert fastbp.gradcheck(network(), loss, x, y).ok


def test_bits_do_not_depend_on_threads_and_epochs_go_on_to_the_bit(tmp_path):
    x, y = data(300)
    found = set()
    for threads in (1, 2, 16):
        before = fastbp.get_num_threads()
        try:
            fastbp.set_num_threads(threads)
        except ValueError:
            continue
        trainer = Trainer(network(members=32, dtype="float32", width=64, p=0.2), rng=5)
        trainer.fit(x, y, epochs=2, batch_size=64, rng=1, progress=False)
        fastbp.set_num_threads(before)
        found.add(trainer.model._params.tobytes())
    half = Trainer(network(members=32, dtype="float32", width=64, p=0.2), rng=5)
    half.fit(x, y, epochs=1, batch_size=64, rng=1, progress=False)
    half.save_checkpoint(tmp_path / "half")
    other = Trainer.load_checkpoint(tmp_path / "half")
    other.fit(x, y, epochs=2, batch_size=64, rng=1, progress=False, resume=True)
    found.add(other.model._params.tobytes())
    assert len(found) == 1


def test_files_pickles_and_copies_have_them(tmp_path):
    model = network(dtype="float32")
    x = data()[0]
    model.save(tmp_path / "m")
    for other in (fastbp.load(tmp_path / "m"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert other.predict(x).tobytes() == model.predict(x).tobytes()
        assert (other.members, other.out_features) == (3, 6)
    assert "(batch * 3, 7)" in model.summary()


def test_a_prediction_does_not_depend_on_the_rows_beside_it_and_derivatives_are_its_own():
    model, (x, _) = network(members=33), data(9)
    whole = model.predict(x)
    assert model.predict(x, batch_size=2).tobytes() == whole.tobytes() == model.forward(x).tobytes()
    dy = np.random.default_rng(2).standard_normal(whole.shape)
    dx = model.backward(dy)
    np.testing.assert_array_equal(model.input_gradient(x, dy), dx)
    np.testing.assert_allclose(np.einsum("rod,ro->rd", model.jacobian(x), dy), dx, rtol=0, atol=1e-12)


def test_metrics_judge_the_average_of_the_members():
    model, (x, y) = network(), data(50)
    figures = Trainer(model).evaluate(x, y, metrics=["log_loss"])
    z = model.predict(x).reshape(50, 3, 2)
    p = np.exp(z - np.logaddexp.reduce(z, axis=2, keepdims=True)).mean(axis=1)
    assert figures["accuracy"] == (p.argmax(axis=1) == y).mean()
    assert figures["log_loss"] == pytest.approx(-np.log(p[np.arange(50), y]).mean())
    one, quantity = network(outputs=1), data(50, outputs=1, labels=False)[1]
    figures = Trainer(one, "mse").evaluate(x, quantity, metrics=["rmse"])
    wrong = one.predict(x).mean(axis=1, keepdims=True) - quantity
    assert figures["rmse"] ** 2 == pytest.approx((wrong**2).mean())


def test_averages_are_of_numbers_probabilities_and_sigmoids():
    z = np.random.default_rng(0).standard_normal((4, 6)) * 30
    each = z.reshape(4, 3, 2)
    np.testing.assert_allclose(fastbp.average_members(z, 3), each.mean(axis=1))
    p = np.exp(each - np.logaddexp.reduce(each, axis=2, keepdims=True)).mean(axis=1)
    np.testing.assert_allclose(np.exp(fastbp.average_members(z, 3, "classes")), p, rtol=1e-12)
    q = (1 / (1 + np.exp(-each))).mean(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-fastbp.average_members(z, 3, "labels"))), q, rtol=1e-12)
    assert np.isnan(fastbp.average_members([[np.nan, 1.0, 2.0, 3.0]], 2)).tolist() == [[True, False]]


def test_a_function_of_all_outputs_may_be_the_loss():
    model, (x, y) = network(outputs=1), data(labels=False, outputs=1)
    trainer = Trainer(model, lambda z, t: (float(((z - t) ** 2).sum()), 2 * (z - t)), fastbp.SGD(1e-4))
    other = Trainer(network(outputs=1), MSELoss(reduction="sum"), fastbp.SGD(1e-4))
    assert trainer.step(x, y) == pytest.approx(other.step(x, y))
    np.testing.assert_allclose(model._params, other.model._params, rtol=0, atol=1e-12)


def test_rows_that_are_ignored_or_not_finite_do_what_they_do_elsewhere():
    x, y = data(20)
    one, other = (Trainer(network(), fastbp.CrossEntropyLoss(ignore_index=-1), fastbp.SGD(0.1)) for _ in range(2))
    x[3], y[3] = np.nan, -1
    kept = np.arange(20) != 3
    assert one.step(x, y) == pytest.approx(other.step(x[kept], y[kept]))
    np.testing.assert_allclose(one.model._params, other.model._params, rtol=0, atol=1e-12)
    y[3] = 1
    with pytest.raises(fastbp.NotFiniteError) as caught:
        Trainer(network()).fit(x, y, batch_size=20, progress=False)
    assert caught.value.rows.tolist() == [3]


def test_a_prelu_whose_channels_were_the_members_in_pytorch_is_refused(torch):
    from fastbp.torch import Members as TorchMembers

    one, several, inside = (
        Sequential(Members(4, 4), layer)
        for layer in (fastbp.PReLU(), fastbp.PReLU(4), fastbp.Residual(fastbp.PReLU(4)))
    )
    x = data(6, 4)[0].astype("float32")
    before = Sequential(fastbp.PReLU(4), Members(4, 3, rng=0))
    for model in (one, before):
        z = model.to_torch()(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(z, model.predict(x), rtol=1e-6)
    for model in (several, inside):
        with pytest.raises(ValueError, match="to_torch expects a PReLU of one parameter behind Members"):
            model.to_torch()
    with pytest.raises(ValueError, match="from_torch expects a PReLU of one parameter behind Members"):
        fastbp.from_torch(torch.nn.Sequential(TorchMembers(4, 4), torch.nn.PReLU(4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Members(4, 257), "Members expects members of at most 256, got 257"),
        (lambda: Members(4, 3, "sign"), "Members expects init"),
        (lambda: Members(4, 3, lambda rng, shape: np.ones(shape[0])), "Members expects weight of shape"),
        (lambda: Sequential(Members(4, 3), Members(4, 3)), "members expects rows of 1 member at row 1, got 3"),
        (lambda: Sequential(Members(4, 3), MemberDense(4, 2, 4)), "member_dense expects rows of 4 members"),
        (lambda: Sequential(Members(4, 3), fastbp.BatchNorm(4)), "batch_norm expects rows of 1 member"),
        (lambda: Sequential(MemberDense(4, 2, 4)), "member_dense expects rows of 4 members at row 0, got 1"),
        (lambda: fastbp.average_members([[1.0, 2.0, 3.0]], 2), "average_members expects outputs of shape"),
        (lambda: Trainer(network(outputs=1)), "an output for each class, 2 or more, got out_features 1"),
        (lambda: Trainer(network(), "mse").step(np.zeros((2, 5)), np.zeros((2, 6))), r"targets of shape \(2, 2\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
