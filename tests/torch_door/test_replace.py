"""`restore_` undoes `replace_`; dropout in a chain; and what `torch.jit.script` is told."""

import copy
import warnings

import pytest


@pytest.fixture
def with_dropout(torch):
    """Make a ``torch.nn.Sequential`` with dropout between its layers, seeded."""

    def make(p=0.4):
        torch.manual_seed(0)
        nn = torch.nn
        return nn.Sequential(
            nn.Linear(5, 8), nn.ReLU(), nn.Dropout(p), nn.Linear(8, 7), nn.Dropout(p), nn.Tanh(), nn.Linear(7, 3)
        ).double()  # fmt: skip

    return make


@pytest.fixture
def chains_run(monkeypatch):
    """Note how many layers each call of `run_eagerly` has."""
    from fastbp.torch import layers

    seen, run = [], layers.run_eagerly
    monkeypatch.setattr(layers, "run_eagerly", lambda codes, *args: (seen.append(len(codes)), run(codes, *args))[1])
    return seen


def test_restoring_gives_the_model_back(torch, door, plain, with_dropout, numbers):
    shared = plain()
    model = torch.nn.ModuleDict(
        {"a": shared, "b": torch.nn.Sequential(with_dropout(), shared), "norm": torch.nn.LayerNorm(3)}
    )
    model["b"].register_buffer("table", torch.arange(3))
    model["a"].eval()
    calls = []
    model["a"].register_forward_hook(lambda *_: calls.append("a"))
    before = {
        "modules": [(name, id(module), type(module), module.training) for name, module in model.named_modules()],
        "state": [(name, id(t)) for name, t in model.state_dict(keep_vars=True).items()],
        "hooks": {name: list(module._forward_hooks) for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
    }
    expected = model["a"](numbers(6, 5))
    assert door.replace_(model).replaced == ["a", "b.0"]
    assert isinstance(model["a"], door.Sequential)
    model["a"](numbers(6, 5))
    assert door.restore_(model) is model
    assert before == {
        "modules": [(name, id(module), type(module), module.training) for name, module in model.named_modules()],
        "state": [(name, id(t)) for name, t in model.state_dict(keep_vars=True).items()],
        "hooks": {name: list(module._forward_hooks) for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
    }
    assert torch.equal(model["a"](numbers(6, 5)), expected)
    assert calls == ["a"] * 3
    assert door.restore_(model) is model  # a second time too
    with pytest.raises(TypeError, match="restore_ expects model"):
        door.restore_([model])


def test_what_was_made_as_one_of_fastbp_s_stays_when_restored(torch, door):
    class Own(door.Sequential):
        pass

    model = torch.nn.ModuleList([door.Linear(3, 2, activation="relu"), door.MLP([3, 2]), Own(), door.Sequential()])
    door.restore_(model)
    assert [type(module) for module in model] == [door.Linear, door.MLP, Own, torch.nn.Sequential]


def test_a_restored_model_can_be_scripted_and_others_are_refused_with_a_word(torch, door, plain, numbers):
    model = torch.nn.ModuleDict({"body": plain()})
    door.replace_(model)
    refused = [model, model["body"], door.MLP([5, 3]), door.Linear(5, 3), door.CrossEntropyLoss()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        for module in refused:
            with pytest.raises(RuntimeError, match=r"torch\.jit\.script cannot compile a \w+ of fastbp\.torch; "):
                torch.jit.script(module)
        x, body = numbers(6, 5), door.restore_(model)["body"]
        assert torch.equal(torch.jit.script(body)(x), body(x))


def test_where_dropout_does_nothing_a_chain_goes_through_it(
    torch, with_dropout, numbers, same, fused, gradients, chains_run
):
    model, x, dout = with_dropout(), numbers(6, 5), numbers(6, 3)
    network = fused(model)
    same(gradients(network.eval(), x, dout), gradients(model.eval(), x, dout))
    assert chains_run == [3]
    handle = network[2].register_forward_hook(lambda *_: None)
    same(gradients(network, x, dout), gradients(model, x, dout))
    handle.remove()
    assert chains_run == [3, 1, 2]
    network[2].train()
    model[2].train()
    for m in (model, network):
        torch.manual_seed(1)
        m.last = gradients(m, x, dout)
    same(network.last, model.last)
    assert chains_run == [3, 1, 2, 1, 2]


def test_dropout_in_training_draws_what_torch_draws(torch, with_dropout, numbers, same, fused, gradients):
    model = with_dropout()
    network, x, dout = fused(model), numbers(6, 5), numbers(6, 3)
    for seed in range(5):
        results = []
        for m in (model, network):
            torch.manual_seed(seed)
            results.append([*gradients(m, x, dout), torch.rand(4)])
        same(*results)


def test_dropout_counts_as_passing_whatever_the_mode_when_replaced(torch, door):
    nn = torch.nn
    for training in (True, False):
        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2)).train(training)
        assert door.replace_(model).replaced == [""]
        alone = nn.Sequential(nn.Dropout(), nn.Linear(4, 2), nn.Dropout()).train(training)
        assert not door.replace_(alone).replaced


def test_a_linear_alone_is_torch_s_to_the_bit_and_its_hooks_are_called(torch, door):
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 300), nn.Softmax(1), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 4))
    other, x = copy.deepcopy(model), torch.randn(200, 400)
    door.replace_(other)
    assert torch.equal(other[:2](x), model[:2](x))
    assert torch.equal(door.Sequential(*other[:2])(x), model[:2](x))
    calls = []
    other[0].register_forward_hook(lambda *_: calls.append(0))
    other(x)
    assert calls == [0]


def test_many_weights_for_a_single_row_are_torch_s_to_the_bit(torch, fused, gradients):
    nn = torch.nn
    torch.manual_seed(0)
    for width, bits in ((300, True), (20, False)):
        model = nn.Sequential(nn.Linear(30, width), nn.Tanh(), nn.Linear(width, 300), nn.ReLU(), nn.Linear(300, 2))
        network = fused(model)
        for shape in ((1, 30), (30,)):
            x, dout = torch.randn(shape), torch.randn(*shape[:-1], 2)
            for a, b in zip(gradients(network, x, dout), gradients(model, x, dout), strict=True):
                assert torch.equal(a, b) or not bits
                torch.testing.assert_close(a, b)


def test_what_writes_to_the_output_of_a_leaky_relu_may_do_so_as_in_torch(torch, door, numbers, same):
    nn = torch.nn
    torch.manual_seed(0)
    ends = [nn.Dropout(0.5, inplace=True), nn.Linear(8, 3)]
    for body in ([nn.Linear(5, 8)], [nn.Linear(5, 7), nn.Tanh(), nn.Dropout(0.0).eval(), nn.Linear(7, 8)]):
        model = nn.Sequential(*body, nn.LeakyReLU(), *ends).double()
        replaced = nn.Sequential(copy.deepcopy(model))
        door.replace_(replaced)
        for mode in (True, False):
            found = []
            for each in (model, replaced):
                each.train(mode).zero_grad()
                torch.manual_seed(3)
                each(numbers(6, 5)).square().sum().backward()
                found.append([p.grad for p in each.parameters()])
            same(*found)
