"""A step in three calls: the bits of `Trainer.step`, and what may come between the calls."""

import copy
import pickle
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp._base.threads import available_threads

OPTIMIZERS = [
    lambda: fastbp.SGD(0.1),
    lambda: fastbp.SGD(0.05, momentum=0.9, nesterov=True),
    lambda: fastbp.Adam(1e-2),
    lambda: fastbp.AdamW(1e-2, weight_decay=0.1),
    lambda: fastbp.RMSprop(1e-2),
]
LOSSES = {
    "softmax_cross_entropy": fastbp.softmax_cross_entropy,
    "mse": fastbp.mse_loss,
    "binary_cross_entropy_with_logits": fastbp.binary_cross_entropy_with_logits,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make_trainer(sizes=(6, 9, 4), dtype="float32", activation="tanh", **options):
    return fastbp.Trainer(fastbp.mlp(list(sizes), activation, dtype=dtype, rng=0), **options)


def targets_for(rng, loss, rows, width):
    return rng.integers(0, width, rows) if loss.startswith("softmax") else rng.random((rows, width))


def step_by_hand(trainer, x, y, loss):
    value, dout = LOSSES[loss](trainer.forward(x), y)
    trainer.backward(dout)
    trainer.update()
    return value


def assert_same(one, other):
    assert one.model._params.tobytes() == other.model._params.tobytes()
    assert one.model._grads.tobytes() == other.model._grads.tobytes()
    assert one._state.tobytes() == other._state.tobytes()
    assert one.steps == other.steps


@pytest.mark.parametrize("case", range(16))
def test_three_calls_leave_the_bits_of_a_step(case):
    rng = np.random.default_rng(case)
    sizes = rng.integers(2, 70, rng.integers(2, 5)).tolist()
    if case % 8 == 7:
        sizes = [700, 600, 300, 5]  # too large to go by rows
    loss, dtype = rng.choice(list(LOSSES)), rng.choice(["float32", "float64"])
    activation = rng.choice(["relu", "tanh", "gelu", "leaky_relu", "sigmoid"])
    clips = {"clip_norm": 0.05} if case % 3 == 1 else {"clip_norm": 0.1, "clip_value": 0.01} if case % 3 == 2 else {}
    one, other = (
        make_trainer(sizes, dtype, activation, loss=loss, optimizer=OPTIMIZERS[case % 5](), **clips) for _ in range(2)
    )
    for rows in (int(rng.integers(1, 1500)), 1, int(rng.integers(1, 300))):
        x, y = rng.standard_normal((rows, sizes[0])), targets_for(rng, loss, rows, sizes[-1])
        assert one.step(x, y) == step_by_hand(other, x, y, loss)
        assert_same(one, other)


def make_graph():
    """Return a model with every kind of layer."""
    inner = fastbp.Dense(12, 12, "gelu", rng=1), fastbp.LayerNorm(12), fastbp.Dropout(0.3)
    return fastbp.Sequential(
        fastbp.Dense(6, 12, "tanh", rng=0), fastbp.Residual(*inner), fastbp.Dropout(0.2), fastbp.Dense(12, 4, rng=2)
    )


@pytest.mark.parametrize("rows", [30, 1500])
def test_three_calls_leave_the_bits_of_a_step_with_every_kind_of_layer(rng, rows):
    x, y = rng.standard_normal((rows, 6)), rng.integers(0, 4, rows)
    one, other = (fastbp.Trainer(make_graph(), clip_norm=0.1, rng=0) for _ in range(2))
    for _ in range(3):
        assert one.step(x, y) == step_by_hand(other, x, y, "softmax_cross_entropy")
        assert_same(one, other)


def test_three_calls_over_members_leave_the_bits_of_a_step(rng):
    x, y = rng.standard_normal((30, 6)), rng.integers(0, 4, 30)
    layers = fastbp.Members(6, 3, rng=0), fastbp.Dense(6, 9, "tanh", rng=1), fastbp.MemberDense(9, 4, 3, rng=2)
    one, other = (fastbp.Trainer(fastbp.Sequential(*copy.deepcopy(layers))) for _ in range(2))
    out = other.forward(x)
    value, dout = fastbp.softmax_cross_entropy(out.reshape(-1, 4), np.repeat(y, 3))
    other.backward(dout.reshape(out.shape))
    other.update()
    assert one.step(x, y) == pytest.approx(value, rel=1e-6)
    assert_same(one, other)


def test_a_function_as_loss_leaves_the_bits_of_a_step_with_every_kind_of_layer(rng):
    x, y = rng.standard_normal((200, 6)), rng.random((200, 4))
    one, other = (fastbp.Trainer(make_graph(), loss, rng=0) for loss in ("mse", lambda z, y: fastbp.mse_loss(z, y)))
    for trainer in (one, other):
        trainer.fit(x, y, batch_size=64, epochs=2, rng=0, progress=False)
        trainer.step(x, y)
    assert_same(one, other)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_bits_do_not_depend_on_threads(threads):
    most = fastbp.get_num_threads()
    if threads > available_threads():
        pytest.skip("as many threads are not there")
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((900, 60)).astype("f4"), rng.integers(0, 7, 900)
    one, other = (make_trainer((60, 50, 7), clip_norm=0.1) for _ in range(2))
    try:
        fastbp.set_num_threads(1)
        step_by_hand(one, x, y, "softmax_cross_entropy")
        fastbp.set_num_threads(threads)
        step_by_hand(other, x, y, "softmax_cross_entropy")
    finally:
        fastbp.set_num_threads(most)
    assert_same(one, other)


@pytest.mark.parametrize("sizes", [(5, 4), (6, 9, 8, 4), (700, 600, 300, 5)])
def test_gradient_of_the_input_is_that_of_the_model_by_hand(rng, sizes):
    trainer = make_trainer(sizes, "float64", "gelu")
    x, dout = rng.standard_normal((33, sizes[0])), rng.standard_normal((33, sizes[-1]))
    out = trainer.forward(x)
    assert_array_equal(out, trainer.model.forward(x))
    dx = trainer.backward(dout, input_gradient=True)
    gradients = {name: g.copy() for name, g in trainer.model.gradients().items()}
    assert_array_equal(dx, trainer.model.backward(dout))
    for name, g in trainer.model.gradients().items():
        assert_array_equal(g, gradients[name], err_msg=name)
    trainer.forward(x)
    assert trainer.backward(dout) is None


def test_output_is_a_copy(rng):
    one, other = make_trainer(activation="sigmoid"), make_trainer(activation="sigmoid")
    x, dout = rng.standard_normal((8, 6)), rng.standard_normal((8, 4))
    out = one.forward(x)
    out[:] = np.nan
    other.forward(x)
    one.backward(dout)
    other.backward(dout)
    assert_same(one, other)


def test_of_two_forwards_the_last_counts(rng):
    one, other = make_trainer(), make_trainer()
    x, dout = rng.standard_normal((8, 6)), rng.standard_normal((8, 4))
    one.forward(rng.standard_normal((300, 6)))
    for trainer in (one, other):
        trainer.forward(x)
        trainer.backward(dout)
    assert_same(one, other)
    one.forward(np.zeros((300, 6)))
    with pytest.raises(ValueError, match=r"dout of shape \(300, 4\), got \(8, 4\)"):
        one.backward(dout)


def test_backward_takes_the_weights_as_they_are_now(rng):
    trainer = make_trainer(dtype="float64")
    x, dout = rng.standard_normal((8, 6)), rng.standard_normal((8, 4))
    trainer.forward(x)
    trainer.model[1].weight[...] = 0
    trainer.backward(dout)
    assert not trainer.model[0].weight_grad.any()
    assert trainer.model[1].weight_grad.any()


def test_x_is_kept_and_not_copied(rng):
    trainer = make_trainer(dtype="float64")
    x, dout = rng.standard_normal((8, 6)), rng.standard_normal((8, 4))
    trainer.forward(x)
    x[:] = 0
    trainer.backward(dout)
    assert not trainer.model[0].weight_grad.any()
    assert trainer.model[0].bias_grad.any()


def in_between(trainer, what, x, y):
    if what == "step":
        trainer.step(x, y)
    elif what == "fit":
        trainer.fit(x, y, progress=False)
    elif what == "update":
        trainer.update()
    elif what == "backward":
        trainer.backward(np.zeros((len(x), 4)))
    elif what == "room":
        trainer._prepare(10_000)


@pytest.mark.parametrize("what", ["step", "fit", "update", "backward", "room"])
def test_backward_is_refused_where_the_outputs_are_gone(rng, what):
    trainer = make_trainer()
    x, y = rng.standard_normal((8, 6)).astype("f4"), rng.integers(0, 4, 8)
    with pytest.raises(RuntimeError, match="backward needs forward before it"):
        trainer.backward(np.zeros((8, 4)))
    trainer.step(x, y)
    trainer.step(x, y)
    trainer.forward(x)
    in_between(trainer, what, x, y)
    with pytest.raises(RuntimeError, match="backward needs forward before it"):
        trainer.backward(np.zeros((8, 4)))


def test_evaluate_predict_and_the_model_by_hand_may_come_between(rng):
    one, other = make_trainer(), make_trainer()
    x, y, dout = rng.standard_normal((8, 6)), rng.integers(0, 4, 8), rng.standard_normal((8, 4))
    one.forward(x)
    one.evaluate(x[:3], y[:3])
    one.model.predict(x[:5])
    one.model.forward(x[:2])
    one.model.backward(dout[:2])
    other.forward(x)
    for trainer in (one, other):
        trainer.backward(dout)
        trainer.update()
    assert_same(one, other)


def test_wrong_arguments_change_nothing(rng):
    trainer = make_trainer()
    x = rng.standard_normal((8, 6))
    for wrong, error in ((x[0], ValueError), (x[:, :5], ValueError), (x[:0], ValueError), (x.astype(str), TypeError)):
        with pytest.raises(error, match="Trainer expects x"):
            trainer.forward(wrong)
    trainer.forward(x)
    before = trainer.model._grads.copy()
    for wrong, error in (
        (np.zeros((8, 3)), ValueError), (np.zeros((7, 4)), ValueError), (np.zeros(8), ValueError),
        (np.zeros((8, 4), complex), TypeError), ([["a"] * 4] * 8, TypeError),
    ):  # fmt: skip
        with pytest.raises(error, match="Trainer expects dout"):
            trainer.backward(wrong)
    assert_array_equal(trainer.model._grads, before)
    trainer.backward(np.ones((8, 4), int))
    assert trainer.steps == 0


def test_update_without_gradients_is_refused():
    trainer = make_trainer()
    before = trainer.model._params.copy()
    with pytest.raises(RuntimeError, match="update needs gradients"):
        trainer.update()
    assert_array_equal(trainer.model._params, before)
    assert trainer.steps == 0


def test_update_takes_gradients_as_they_stand(rng):
    x, dout = rng.standard_normal((8, 6)), rng.standard_normal((8, 4)).astype("f4")
    one, other = make_trainer(), make_trainer()
    one.model.forward(x)
    one.model.backward(dout)
    one.update()
    other.model.load_state_dict(other.model.state_dict())
    other.forward(x)
    other.backward(dout)
    other.update()
    assert_same(one, other)
    one.update()  # once more, as PyTorch's optimizers do
    assert one.steps == 2
    assert not np.array_equal(one.model._params, other.model._params)


def test_update_checks_the_numbers_of_the_optimizer_and_follows_them(rng):
    trainer = make_trainer(optimizer=fastbp.SGD(0.1))
    trainer.forward(rng.standard_normal((8, 6)))
    trainer.backward(rng.standard_normal((8, 4)))
    before = trainer.model._params.copy()
    trainer.optimizer.lr = -1
    with pytest.raises(ValueError, match="lr"):
        trainer.update()
    assert_array_equal(trainer.model._params, before)
    trainer.optimizer.lr = 0.5
    trainer.update()
    assert_array_equal(trainer.model._params, before - np.float32(0.5) * trainer.model._grads)


def test_another_thread_is_refused():
    trainer = make_trainer()
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with trainer._alone:
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    try:
        for call in (lambda: trainer.forward(np.zeros((1, 6))), lambda: trainer.backward([[0] * 4]), trainer.update):
            with pytest.raises(RuntimeError, match="another thread"):
                call()
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_has_no_forward_and_no_gradients(rng, copied):
    trainer = make_trainer(clip_norm=0.5)
    trainer.forward(rng.standard_normal((8, 6)))
    trainer.backward(rng.standard_normal((8, 4)))
    twin = copied(trainer)
    assert twin.clip_norm == 0.5
    with pytest.raises(RuntimeError, match="backward needs forward"):
        twin.backward(np.zeros((8, 4)))
    with pytest.raises(RuntimeError, match="update needs gradients"):
        twin.update()


def test_steps_by_hand_in_a_callback_and_after_a_checkpoint(rng, tmp_path):
    x, y = rng.standard_normal((64, 6)), rng.integers(0, 4, 64)

    class Own(fastbp.Callback):
        every = 3

        def __init__(self, by_hand):
            self.by_hand = by_hand

        def on_steps_end(self, trainer):
            if self.by_hand:
                step_by_hand(trainer, x[:50], y[:50], "softmax_cross_entropy")
            else:
                trainer.step(x[:50], y[:50])

    runs = []
    for by_hand in (True, False):
        trainer = make_trainer(clip_norm=0.2)
        trainer.fit(x, y, batch_size=10, epochs=2, rng=0, callbacks=[Own(by_hand)], progress=False)
        trainer.save_checkpoint(tmp_path / "c")
        trainer = fastbp.Trainer.load_checkpoint(tmp_path / "c")
        if by_hand:
            step_by_hand(trainer, x, y, "softmax_cross_entropy")
        else:
            trainer.step(x, y)
        trainer.fit(x, y, batch_size=10, epochs=3, resume=True, callbacks=[Own(by_hand)], progress=False)
        runs.append(trainer)
    assert_same(*runs)
