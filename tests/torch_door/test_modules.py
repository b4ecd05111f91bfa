"""`MLP` is a module as PyTorch describes one: its state, its hooks, its parameters, and who works on them."""

import copy
import io
import pickle
import warnings
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.kernels import entries
from fastbp.kernels.activations import ACTIVATIONS

SHAPES = st.tuples(
    st.lists(st.integers(1, 9), min_size=2, max_size=5),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from(["identity", "tanh", "gelu_tanh"]),
    st.booleans(),
)


@pytest.fixture(params=[True, False], ids=["flat", "layers"])
def flat(request):
    return request.param


@pytest.fixture(scope="session")
def twin(torch, modules):
    """Make the ``torch.nn.Sequential`` of an MLP's arguments, seeded."""

    def make(sizes, activation="relu", output_activation="identity", bias=True, seed=0):
        torch.manual_seed(seed)
        layers = []
        for i, (ins, outs) in enumerate(pairwise(sizes), 2):
            layers.append(torch.nn.Linear(ins, outs, bias, dtype=torch.float64))
            name = output_activation if i == len(sizes) else activation
            layers += [] if name == "identity" else [modules[name]()]
        return torch.nn.Sequential(*layers)

    return make


@pytest.fixture(scope="session")
def mlp(torch, door):
    """Make an MLP of float64, seeded."""

    def make(sizes=(5, 8, 3), activation="tanh", output_activation="identity", bias=True, flat=True, seed=0, cls=None):
        torch.manual_seed(seed)
        make_it = cls or door.MLP
        return make_it(
            sizes, activation, output_activation=output_activation, bias=bias, flat=flat, dtype=torch.float64
        )

    return make


@pytest.fixture
def grown(torch, door):
    """Make a subclass with all that a module may have, drawn by a number."""

    def make(draw):
        class Grown(door.MLP):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.seen = 0
                if draw & 1:
                    self.register_buffer("scale", torch.rand(3, dtype=torch.float64))
                    self.register_buffer("passing", torch.rand(2), persistent=False)
                if draw & 2:
                    self.log_std = torch.nn.Parameter(torch.rand(3, dtype=torch.float64))
                if draw & 4:
                    self.head = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)).double()
                if draw & 8:
                    self.inner = door.MLP([3, 4, 3], dtype=torch.float64, flat=bool(draw & 1))

            def forward(self, x):
                x = super().forward(x)
                for name in ("scale", "log_std"):
                    x = x * getattr(self, name, 1.0)
                for name in ("head", "inner"):
                    x = getattr(self, name, torch.nn.Identity())(x)
                return x

        class Remembering(Grown):
            def get_extra_state(self):
                return {"seen": self.seen}

            def set_extra_state(self, state):
                self.seen = state["seen"]

        return Remembering if draw & 16 else Grown

    return make


@settings(max_examples=25)
@given(SHAPES, st.booleans(), st.integers(0, 2**20))
def test_a_state_dict_of_any_of_the_three_is_loaded_by_the_two(torch, twin, mlp, same, shape, assign, seed):
    """flat, of layers, and the ``torch.nn.Sequential``, whose own loads views()."""
    plain = twin(*shape, seed=seed)
    whole, layered = (mlp(*shape, flat=flat, seed=seed) for flat in (True, False))
    assert list(layered.state_dict()) == list(plain.state_dict()) == list(whole.views()) == list(layered.views())
    assert list(whole.state_dict()) == ["flat"]
    x = torch.randn(4, shape[0][0], dtype=torch.float64)
    same([whole(x), layered(x)], [plain(x)] * 2, 1e-8)  # the same seed; PyTorch's softplus drops exp(-20)
    for source in (plain, whole, layered):
        with torch.no_grad():
            for p in source.parameters():
                p += 1
        for flat in (True, False):
            target = torch.nn.ModuleDict({"body": mlp(*shape, flat=flat)})
            state = {f"body.{name}": value.detach().clone() for name, value in source.state_dict().items()}
            result = target.load_state_dict(state, assign=assign)
            assert not any(result)
            same([target["body"](x)], [source(x)], 1e-8)
            assert all(p.requires_grad and p.is_leaf for p in target.parameters())
        back = twin(*shape)
        back.load_state_dict(source.views() if source is not plain else source.state_dict())
        same([back(x)], [source(x)], 1e-8)


@pytest.mark.parametrize("draw", [0, 7, 11, 15, 16, 21, 26, 31])
def test_a_subclass_saves_and_loads_all_that_it_has(torch, mlp, grown, numbers, flat, draw):
    cls, x = grown(draw), numbers(6, 5)
    model = mlp(cls=cls, flat=flat)
    model.seen = 7
    model(x), model.eval()  # a step of the batch norm
    state = model.state_dict()
    persistent = {n for n, _ in model.named_buffers()} - {"passing"}
    extra = {"_extra_state"} if draw & 16 else set()
    assert set(state) == {name for name, _ in model.named_parameters()} | persistent | extra
    kept = model.state_dict(keep_vars=True)
    assert all(kept[name] is p for name, p in model.named_parameters())
    file = io.BytesIO()
    torch.save({f"outer.{name}": value for name, value in state.items()}, file)
    file.seek(0)
    outer = torch.nn.ModuleDict({"outer": mlp(cls=cls, flat=flat, seed=5).eval()})
    assert not any(outer.load_state_dict(torch.load(file, weights_only=True)))
    assert torch.equal(outer["outer"](x), model(x))
    assert outer["outer"].seen == (7 if extra else 0)
    for other in (copy.deepcopy(model), mlp(cls=cls, flat=flat, seed=6).eval()):
        assert not any(other.load_state_dict(state, assign=True))
        assert torch.equal(other(x), model(x))
    for name in state:
        short = {other: value for other, value in state.items() if other != name}
        assert other.load_state_dict(short, strict=False).missing_keys == ([] if name.endswith("tracked") else [name])
    assert other.load_state_dict({**state, "more": x}, strict=False).unexpected_keys == ["more"]


def test_what_does_not_fit_is_named_and_the_rest_loaded(torch, mlp, twin, flat):
    model, state = mlp(flat=flat), twin((5, 8, 3), "tanh", seed=1).state_dict()
    before = {name: view.detach().clone() for name, view in model.views().items()}
    with pytest.raises(RuntimeError, match=r"(?s)size mismatch for 2\.weight.*3.*4.*3.*8"):
        model.load_state_dict({**state, "2.weight": torch.zeros(3, 4)})
    model.load_state_dict(before)
    with pytest.raises(RuntimeError, match=r"0\.bias"):
        model.load_state_dict({**state, "0.bias": 3})
    del state["2.bias"], state["0.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.weight.*2\.bias"):
        model.load_state_dict(state)
    model.load_state_dict(before)
    assert model.load_state_dict(state, strict=False).missing_keys == ["0.weight", "2.bias"]
    for name, view in model.views().items():
        assert torch.equal(view, state.get(name, before[name])), name
    assert model.load_state_dict({}, strict=False).missing_keys == (["flat"] if flat else list(before))


def test_hooks_on_state_dicts_are_called_and_may_rename(torch, mlp, twin, flat):
    model, calls = torch.nn.ModuleDict({"body": mlp(flat=flat)}), []
    body, plain = model["body"], twin((5, 8, 3), "tanh", seed=3)
    body.register_state_dict_pre_hook(lambda module, prefix, keep: calls.append(("before saving", prefix)))
    body.register_state_dict_post_hook(lambda module, state, prefix, _: calls.append(("after saving", prefix)))
    body.register_load_state_dict_post_hook(lambda module, keys: calls.append(("after loading", *keys.missing_keys)))

    def rename(module, state, prefix, *_):
        calls.append(("before loading", prefix))
        for name in list(state):
            if name.startswith(prefix + "old"):
                state[name.replace("old", "", 1)] = state.pop(name)

    body.register_load_state_dict_pre_hook(rename)
    model.load_state_dict({f"body.old{name}": value for name, value in plain.state_dict().items()})
    assert all(torch.equal(a, b) for a, b in zip(body.views().values(), plain.parameters(), strict=True))
    model.state_dict()
    assert calls == [
        ("before loading", "body."), ("after loading",), ("before saving", "body."), ("after saving", "body."),
    ]  # fmt: skip
    assert len(body._load_state_dict_pre_hooks) == 1  # nothing of fastbp's stays


def test_functional_calls_take_the_module_s_own_state(torch, mlp, grown, numbers, same, flat):
    from torch.func import functional_call, stack_module_state, vmap

    x = numbers(6, 5)
    for cls in (None, grown(7)):
        model, other = (mlp(cls=cls, flat=flat, seed=seed).eval() for seed in (0, 1))
        assert torch.equal(functional_call(model, other.state_dict(), x), other(x))
        parameters = {name: p.detach().requires_grad_() for name, p in other.named_parameters()}
        out = functional_call(model, parameters | dict(other.named_buffers()), x)
        same(list(torch.autograd.grad(out.sum(), list(parameters.values()))),
             list(torch.autograd.grad(other(x).sum(), list(other.parameters()))))  # fmt: skip
        stacked = stack_module_state([model, other])
        found = vmap(lambda p, b, model=model: functional_call(model, (p, b), x))(*stacked)
        same(list(found), [model(x), other(x)])


def test_parameters_that_stand_elsewhere_are_found(torch, mlp, numbers, same, gradients, flat):
    """As tensordict puts them: out of ``_parameters``, into the module's ``__dict__`` or its buffers."""
    x = numbers(6, 5)
    for place in ("__dict__", "_buffers"):
        model, other = mlp(flat=flat), mlp(flat=flat, seed=1)
        expected = torch.autograd.grad(other(x).sum(), list(other.parameters()))
        for name, p in list(other.named_parameters()):
            path, _, last = name.rpartition(".")
            module = model.get_submodule(path)
            del module._parameters[last]
            (vars(module) if place == "__dict__" else module._buffers)[last] = p
        out = model(x)
        same([out, *torch.autograd.grad(out.sum(), list(other.parameters()))], [other(x), *expected])


def test_pruned_and_parametrized_networks_are_torch_s(torch, mlp, twin, numbers, same, gradients, flat):
    from torch.nn.utils import parametrizations, parametrize, prune

    class Doubled(torch.nn.Module):
        def forward(self, w):
            return 2 * w

    x, dout = numbers(6, 5), numbers(6, 3)
    for change in ("prune", "parametrize", "weight_norm", "spectral_norm"):
        results = []
        for model in (twin((5, 8, 3), "tanh"), mlp(flat=flat)):
            places = [(m, "weight") for m in model.modules() if isinstance(m, torch.nn.Linear)] or [(model, "flat")]
            before = model(x)
            for module, name in places:
                torch.manual_seed(1)
                if change == "prune":
                    prune.l1_unstructured(module, name, amount=0.5)
                elif change == "parametrize":
                    parametrize.register_parametrization(module, name, Doubled())
                elif change == "weight_norm":
                    parametrizations.weight_norm(module, name)
                else:
                    parametrizations.spectral_norm(module, name).eval()
            with torch.no_grad():
                assert (change == "weight_norm") == torch.allclose(model(x), before)
            loaded = copy.deepcopy(model)
            loaded.load_state_dict(model.state_dict())
            found = gradients(model, x, dout)
            same(gradients(loaded, x, dout), found)
            results.append(found)
        if not flat:
            same(*results)


@settings(max_examples=25)
@given(SHAPES, st.integers(0, 2**20))
def test_layers_are_initialised_grouped_and_trained_as_those_of_torch(torch, twin, mlp, same, shape, seed):
    nn = torch.nn
    results = []
    for model in (twin(*shape), mlp(*shape, flat=False)):
        torch.manual_seed(seed)

        def initialise(module):
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, 0.5)
                if module.bias is not None:
                    nn.init.normal_(module.bias)

        model.apply(initialise)
        first = next(model.parameters()).requires_grad_(seed % 3 > 0)
        groups = [
            {"params": [p for p in model.parameters() if p.ndim >= 2 and p.requires_grad], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if not groups:
            return
        make = (torch.optim.AdamW, torch.optim.SGD, getattr(torch.optim, "Adafactor", torch.optim.RMSprop))[seed % 3]
        optimizer = make(groups, lr=0.01)
        x = torch.randn(7, shape[0][0], dtype=torch.float64)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        assert (first.grad is None) == (seed % 3 == 0)
        results.append([*model.parameters(), *(s["step"] for s in optimizer.state.values())])
    same(*results, 1e-7)


def test_layers_are_views_of_one_memory_until_something_replaces_them(torch, mlp, numbers, same, monkeypatch):
    from torch._subclasses.fake_tensor import FakeTensorMode

    def apart(model):
        return [p.data_ptr() - first.data_ptr() for first in [next(model.parameters())] for p in model.parameters()]

    model, x = mlp(flat=False), numbers(6, 5)
    assert apart(model) == [0, 8 * 40, 8 * 48, 8 * 72]
    assert [p.untyped_storage().nbytes() for p in model.parameters()] == [8 * p.numel() for p in model.parameters()]
    with FakeTensorMode():
        assert mlp(flat=False)(torch.empty(6, 5, dtype=torch.float64)).shape == (6, 3)
    calls, kernel = [], entries.chain_forward
    monkeypatch.setattr(entries, "chain_forward", lambda *arguments: (calls.append(1), kernel(*arguments)))
    expected = model(x)
    changed = {
        "copied": copy.deepcopy(model), "pickled": pickle.loads(pickle.dumps(model)),
        "moved": copy.deepcopy(model).float().double(), "shared": copy.deepcopy(model).share_memory(),
    }  # fmt: skip
    assigned = changed["assigned"] = mlp(flat=False, seed=1)
    assigned.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    for how, other in changed.items():
        calls.clear()
        same([other(x)], [expected], 1e-6)
        assert calls == [1], how  # the whole chain at once, wherever the layers are
        assert isinstance(other.get_submodule("0"), torch.nn.Linear)
    assert mlp(flat=False).half()(x.half()).dtype is torch.float16
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert not model(x).any()


def test_averages_copies_and_moves_are_a_module_s(torch, mlp, grown, numbers, same, flat):
    from torch.optim import swa_utils

    x = numbers(6, 5)
    for cls in (None, grown(7)):
        model = mlp(cls=cls, flat=flat)
        for average in (swa_utils.AveragedModel(model), swa_utils.AveragedModel(
            model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True)):  # fmt: skip
            for _ in range(2):
                average.update_parameters(model)
            same([average.eval()(x)], [model.eval()(x)])
            again = swa_utils.AveragedModel(mlp(cls=cls, flat=flat, seed=1))
            again.load_state_dict(average.state_dict())
            same([again.eval()(x)], [average(x)])
        vector = torch.nn.utils.parameters_to_vector(model.parameters())
        torch.nn.utils.vector_to_parameters(2 * vector, model.parameters())
        same([torch.nn.utils.parameters_to_vector(model.parameters())], [2 * vector])
        there = copy.deepcopy(model).to("meta").to_empty(device="cpu")
        there.load_state_dict(model.state_dict())
        same([there(x)], [model(x)])
        assert all(p.device.type == "meta" for p in copy.deepcopy(model).to("meta").parameters())


def test_checkpoints_of_torch_distributed_go_round(torch, mlp, grown, numbers, tmp_path, flat):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    warnings.filterwarnings("ignore", "torch.distributed is disabled")
    x = numbers(6, 5)
    made = []
    for seed in (0, 1):
        model = mlp(cls=grown(7), flat=flat, seed=seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        if seed == 0:
            model(x).sum().backward()
            optimizer.step()
        made.append((model, optimizer))
    (model, optimizer), (other, other_optimizer) = made
    state, optimizer_state = get_state_dict(model, optimizer)
    assert list(state) == list(model.state_dict())
    dcp.save({"model": state, "optimizer": optimizer_state}, checkpoint_id=tmp_path, no_dist=True)
    there, optimizer_there = get_state_dict(other, other_optimizer)
    found = {"model": there, "optimizer": optimizer_there}
    dcp.load(found, checkpoint_id=tmp_path, no_dist=True)
    set_state_dict(other, other_optimizer, model_state_dict=found["model"], optim_state_dict=found["optimizer"])
    assert torch.equal(other.eval()(x), model.eval()(x))
    for a, b in zip(optimizer.state.values(), other_optimizer.state.values(), strict=True):
        assert torch.equal(a["exp_avg"], b["exp_avg"])


def test_replace_leaves_the_layers_of_a_network_to_it(torch, mlp, door):
    class Policy(door.MLP):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.head = torch.nn.Linear(3, 2)

    report = door.replace_(torch.nn.ModuleDict({"plain": mlp(flat=False), "policy": mlp(flat=False, cls=Policy)}))
    assert not report.replaced
    assert report.left == {"policy.head": "a Linear outside of an nn.Sequential"}
