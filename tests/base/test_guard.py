"""What would be ignored is refused: unknown attributes, those that are read once, overrides that no kernel calls."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import fastbp
from fastbp.nn import losses
from fastbp.train import optimizers

X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
Y = np.arange(12) % 3
MODEL_METHODS = ("forward", "__call__", "backward", "predict")

MAKE = {
    "Dense": lambda: fastbp.Dense(4, 3, rng=0),
    "Members": lambda: fastbp.Members(4, 3, rng=0),
    "MemberDense": lambda: fastbp.MemberDense(4, 3, 2, rng=0),
    "Sequential": lambda: fastbp.mlp([4, 5, 3], rng=0),
    "Trainer": lambda: fastbp.Trainer(fastbp.mlp([4, 5, 3], rng=0)),
    "SGD": lambda: fastbp.SGD(0.1, momentum=0.9),
    **{name: kind for name, kind in optimizers.KINDS.items() if name != "SGD"},
    **losses.KINDS,
    "History": lambda: fastbp.History({"loss": [1.0, 0.5]}),
    "Dataset": lambda: fastbp.load_dataset("digits"),
    "Scaler": lambda: fastbp.Scaler.fit(X, "standardize"),
    "GradcheckResult": lambda: fastbp.gradcheck(fastbp.mlp([4, 3], rng=0), "mse", X, np.ones((12, 3)), most=2),
}
OBJECTS = {name: make() for name, make in MAKE.items()}
OPTIMIZERS, LOSSES = tuple(optimizers.KINDS), tuple(losses.KINDS)


def public(thing):
    """Return the names that a user sees, without methods."""
    names = {name for name in {*dir(thing), *vars(thing)} if not name.startswith("_")}
    return sorted(name for name in names if not callable(getattr(thing, name)))


def state(thing):
    return {name: copy.copy(getattr(thing, name)) for name in public(thing)}


def assert_same_state(thing, before):
    for name, value in state(thing).items():
        assert_array_equal(value, before[name]) if isinstance(value, np.ndarray) else None
        assert isinstance(value, np.ndarray) or repr(value) == repr(before[name])


def trainer_for(name, **parts):
    """Return the arguments of a Trainer whose loss is, or suits, the one of this name."""
    outputs = 2 if name == "GaussianNLLLoss" else 3
    return {"model": fastbp.mlp([4, outputs], rng=0), "loss": "softmax_cross_entropy"} | parts


class TestUnknownAttributes:
    @pytest.mark.parametrize(
        ("kind", "name", "hint"),
        [
            ("Trainer", "lr", "did you mean optimizer.lr?"),
            ("Trainer", "learning_rate", "did you mean optimizer.lr?"),
            ("Trainer", "label_smoothing", "did you mean loss.label_smoothing?"),
            ("Adam", "learning_rate", "did you mean lr?"),
            ("SGD", "nestrov", "did you mean nesterov?"),
            ("Dense", "frozen", "it has activation, bias, "),
            ("Dense", "wieght", "did you mean weight?"),
            ("Sequential", "training", "it has dtype, "),
        ],
    )
    def test_are_refused_with_what_was_meant(self, kind, name, hint):
        with pytest.raises(AttributeError, match=f"{kind} has no attribute '{name}' to set; ") as error:
            setattr(OBJECTS[kind], name, 0.1)
        assert hint in str(error.value)
        assert not hasattr(OBJECTS[kind], name)

    @settings(max_examples=150)
    @given(st.sampled_from(sorted(OBJECTS)), st.data())
    def test_one_letter_off_is_refused_and_the_name_is_told(self, kind, data):
        thing = OBJECTS[kind]
        long = [name for name in public(thing) if len(name) > 4]
        name = data.draw(st.sampled_from(long))
        at = data.draw(st.integers(1, len(name) - 2))
        wrong = data.draw(st.sampled_from([name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:]]))
        before = state(thing)
        hint = rf"did you mean \w*\.?{name}\?"
        with pytest.raises(AttributeError, match=f"{kind} has no attribute '{wrong}' to set; {hint}"):
            setattr(thing, wrong, getattr(thing, name))
        assert_same_state(thing, before)

    @settings(max_examples=150)
    @given(st.sampled_from(sorted(OBJECTS)), st.from_regex(r"[a-z]\w{0,12}", fullmatch=True))
    def test_any_other_name_is_refused(self, kind, name):
        thing = OBJECTS[kind]
        if not hasattr(thing, name):
            with pytest.raises(AttributeError, match=f"{kind} has no attribute"):
                setattr(thing, name, 1)

    @pytest.mark.parametrize("kind", OBJECTS)
    def test_methods_cannot_be_replaced(self, kind):
        thing = OBJECTS[kind]
        for name in dir(thing):
            if not name.startswith("_") and callable(getattr(type(thing), name, None)):
                with pytest.raises(AttributeError, match=f"{kind}.{name} cannot be replaced"):
                    setattr(thing, name, lambda *args: None)

    @pytest.mark.parametrize("kind", [*OPTIMIZERS, *LOSSES, "Dense", "Sequential", "Trainer"])
    def test_subclasses_are_free(self, kind):
        thing = OBJECTS[kind]
        mine = type("Mine", (type(thing),), {"note": "mine", "more": lambda self: self.anything})
        arguments = {"Dense": (4, 3), "Sequential": (fastbp.Dense(4, 3),), "Trainer": (fastbp.mlp([4, 3]),)}
        own = mine(*arguments.get(kind, ()))
        own.anything, own.note = 5, "changed"
        assert (own.more(), own.note) == (5, "changed")


CHANGEABLE = {
    "Sequential": {"metadata"},
    "Trainer": {"optimizer"},
    "Dense": {"weight", "bias", "weight_grad", "bias_grad", "trainable"},
    "MemberDense": {"weight", "bias", "weight_grad", "bias_grad", "trainable"},
    "Members": {"weight", "weight_grad", "trainable"},
    **{name: {field.name for field in dataclasses.fields(kind)} for name, kind in optimizers.KINDS.items()},
}


class TestFixedAttributes:
    """Each public attribute takes effect where it is changed, or cannot be changed."""

    @pytest.mark.parametrize("kind", OBJECTS)
    def test_all_others_stay(self, kind):
        thing = MAKE[kind]()
        before = state(thing)
        for name in public(thing):
            if name not in CHANGEABLE.get(kind, ()):
                for value in (getattr(thing, name), "tanh", 5, None):
                    with pytest.raises(AttributeError):
                        setattr(thing, name, value)
                with pytest.raises(AttributeError):
                    delattr(thing, name)
        assert_same_state(thing, before)

    def test_a_loss_says_to_make_a_new_one(self):
        with pytest.raises(dataclasses.FrozenInstanceError, match="make a new CrossEntropyLoss"):
            fastbp.CrossEntropyLoss().label_smoothing = 0.3
        assert dataclasses.replace(fastbp.CrossEntropyLoss(), label_smoothing=0.3).label_smoothing == 0.3

    def test_those_of_a_subclass_s_base_stay_too(self):
        class Mine(fastbp.Dense):
            pass

        layer = Mine(4, 3, "relu", rng=0)
        with pytest.raises(AttributeError, match=r"Mine\.activation stays as it was made"):
            layer.activation = "tanh"
        for name in ("forward", "backward"):
            with pytest.raises(AttributeError, match="cannot be replaced"):
                setattr(layer, name, lambda x: x)

    def test_copies_and_pickles_are_guarded_as_well(self):
        for thing in OBJECTS.values():
            for twin in (copy.copy(thing), copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))):
                with pytest.raises(AttributeError, match="has no attribute"):
                    twin.something = 1
                assert type(twin) is type(thing)

    def test_an_optimizer_that_is_none_is_refused(self):
        trainer = MAKE["Trainer"]()
        for wrong in ("sgd", None, fastbp.SGD):
            with pytest.raises(TypeError, match="Trainer expects optimizer to be an optimizer"):
                trainer.optimizer = wrong
        assert trainer.optimizer == fastbp.Adam()


# What others call in a subclass, and what the kernels compute here
OF_OPTIMIZERS = ("numbers", "code", "_decay", "step", "update", "apply_gradients", "__call__", "lr")
OF_LOSSES = (
    "evaluate", "value", "options", "targets", "outputs_for", "forward", "backward", "__call__", "call", "reduction",
)  # fmt: skip
NAMES = {
    **dict.fromkeys(OPTIMIZERS, OF_OPTIMIZERS),
    **dict.fromkeys(LOSSES, OF_LOSSES),
    "Dense": ("forward", "backward", "weight", "bias", "__call__", "call", "_forward", "_backward", "_dz"),
    "Sequential": (*MODEL_METHODS, "_plan", "in_features", "layers"),
}


class TestOverrides:
    @settings(max_examples=120)
    @given(st.sampled_from(sorted(NAMES)), st.data())
    def test_that_no_kernel_calls_are_refused_by_name(self, kind, data):
        base, name = type(OBJECTS[kind]), data.draw(st.sampled_from(NAMES[kind]))
        property_only = name in ("lr", "reduction", "layers")
        way = property if property_only or data.draw(st.booleans()) else lambda f: f
        body = {name: way(lambda self, *args: None)}
        shape = data.draw(st.sampled_from(["direct", "mixin", "deep"]))
        if shape == "direct":
            mine = type("Mine", (base,), body)
        elif shape == "mixin":
            mine = type("Mine", (type("Mixin", (), body), base), {})
        else:
            mine = type("Mine", (type("Between", (base,), body),), {})
        thing = mine.__new__(mine)  # a constructor may trip over what was overridden
        object.__setattr__(thing, "__dict__", dict(vars(MAKE[kind]())))
        match = f"Mine overrides {name}, which they do not call"
        if kind == "Dense":
            thing._owner = None
            if name.startswith("_") and name != "__call__":  # called by hand, so a model may have it
                model = fastbp.Sequential(thing)
                with pytest.raises(TypeError, match=match):
                    fastbp.Trainer(model)
                return
            with pytest.raises(TypeError, match="Sequential expects .*" + match):
                fastbp.Sequential(thing)
            return
        part = "optimizer" if kind in OPTIMIZERS else "loss" if kind in LOSSES else "model"
        with pytest.raises(TypeError, match="Trainer expects .*" + match):
            fastbp.Trainer(**trainer_for(kind, **{part: thing}))

    @pytest.mark.parametrize("kind", [*OPTIMIZERS, "CrossEntropyLoss", "Dense", "Sequential"])
    def test_that_only_add_train_as_their_base(self, kind):
        base = type(OBJECTS[kind])

        class Mine(base):
            """Remembers something, and says something else of itself."""

            def __init__(self, *args, **options):
                super().__init__(*args, **options)
                self.seen = 0

            def look(self):
                self.seen += 1

            def __repr__(self):
                return "mine"

        def trained(cls):
            layers = fastbp.Dense(4, 5, "tanh", rng=0), fastbp.Dense(5, 3, rng=1)
            if kind == "Dense":
                layers = cls(4, 5, "tanh", rng=0), cls(5, 3, rng=1)
            model = (cls if kind == "Sequential" else fastbp.Sequential)(*layers)
            loss = cls(label_smoothing=0.1) if kind == "CrossEntropyLoss" else "softmax_cross_entropy"
            optimizer = cls(0.1) if kind in OPTIMIZERS else fastbp.SGD(0.1)
            trainer = fastbp.Trainer(model, loss, optimizer)
            trainer.fit(X, Y, epochs=2, batch_size=5, rng=0, progress=False)
            return model._params

        assert_array_equal(trained(Mine), trained(base))

    def test_of_an_optimizer_put_in_later_are_refused(self):
        class Scheduled(fastbp.Adam):
            @property
            def code(self):
                return super().code

        trainer = MAKE["Trainer"]()
        with pytest.raises(TypeError, match="Scheduled overrides code"):
            trainer.optimizer = Scheduled()

    def test_of_a_trainer_s_step_are_for_loops_by_hand(self):
        class Counting(fastbp.Trainer):
            made = 0

            def step(self, x, y, sample_weight=None):
                self.made += 1
                return super().step(x, y, sample_weight)

        trainer = Counting(fastbp.mlp([4, 3], rng=0))
        trainer.step(X, Y)
        with pytest.raises(TypeError, match=r"would not call Counting\.step; call step in a loop"):
            trainer.fit(X, Y, progress=False)
        assert (trainer.made, trainer.steps) == (1, 1)


def test_an_optimizer_s_own_array_may_be_another_at_each_step():
    class WithTable(fastbp.Adam):
        pass

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 3)), rng.integers(0, 2, 8)
    trainer = fastbp.Trainer(fastbp.mlp([3, 2], dtype="float64", rng=0), optimizer=WithTable())
    plain = fastbp.Trainer(fastbp.mlp([3, 2], dtype="float64", rng=0))
    for step in range(4):
        trainer.optimizer.table = rng.standard_normal(step + 1)
        trainer.optimizer.lr = plain.optimizer.lr = 0.1 / (step + 1)
        assert trainer.step(x, y) == plain.step(x, y)
    trainer.optimizer.table = rng.standard_normal(4)
    trainer.fit(x, y, shuffle=False, progress=False)
    plain.fit(x, y, shuffle=False, progress=False)
    assert trainer.model._params.tobytes() == plain.model._params.tobytes()
