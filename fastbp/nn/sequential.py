"""A model as its user has it: made of layers, cut into parts, in another dtype, in PyTorch, in a file."""

import copy
import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from fastbp._base import check
from fastbp._base.docs import listed, with_lists
from fastbp.kernels.compile.forks import imports
from fastbp.nn.activation_layers import Activation, ParametricActivation, PReLU
from fastbp.nn.by_hand import ByHand
from fastbp.nn.dense import Dense
from fastbp.nn.embedding import Embedding
from fastbp.nn.layer import Layer, in_dtype, made
from fastbp.nn.layers import MADE
from fastbp.nn.members import MemberDense, Members
from fastbp.nn.modelfile import MODEL, check_table, write_tensors
from fastbp.nn.periodic import Periodic
from fastbp.nn.residual import Residual
from fastbp.nn.stack import Array

__all__ = ["Sequential"]

# The library's layers
KINDS: tuple[type[Layer], ...] = (
    Dense, Activation, ParametricActivation, PReLU, *MADE, Residual, Embedding, Periodic, Members, MemberDense,
)  # fmt: skip


@with_lists(layers=listed(kind.__name__ for kind in KINDS))
class Sequential(ByHand):
    """Layers that follow each other, their parameters in one flat buffer.

    Parameters
    ----------
    *layers : {layers}
        Each takes what the one before gives; all of one dtype. Their parameters move into the model: views of
        ``weight`` taken before do not change the model. A layer can be part of one model.

    Attributes
    ----------
    layers : tuple of layers
    metadata : dict
        What `save` stores beside the parameters and `fastbp.load` brings back: anything that JSON can hold.

    Raises
    ------
    TypeError, ValueError
        If something is no layer, or of a subclass that overrides what is computed without it; if sizes or dtypes do not
        fit, or a layer belongs to a model already.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> model = fastbp.Sequential(fastbp.Dense(4, 8, "relu", rng=0), fastbp.Dense(8, 3, rng=1))
    >>> model.predict(np.ones((2, 4))).shape
    (2, 3)
    >>> list(model.parameters())
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    _whole: "Sequential | None" = None  # the model that this is a part of

    _compiled: ClassVar = ("forward", "__call__", "call", "backward", "predict", "in_features", "out_features")

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        self._begin()

    def __getitem__(self, i: int | slice) -> Any:
        """Return layer i; or of a slice a `Sequential` of these layers, on the same memory.

        ``model[:2]`` has no parameters of its own: what is trained or written in it is so in the model, and the other
        way round. The layers go on to belong to the model, whose memory it keeps. A file, a pickle or a copy of it is a
        model by itself.
        """
        if not isinstance(i, slice):
            return self.layers[i]
        chosen = range(len(self.layers))[i]
        if len(chosen) == 0 or (len(chosen) > 1 and chosen.step != 1):
            raise ValueError(f"Sequential expects a slice of layers that follow each other, got {i} of {len(self)}")
        sizes = [layer._size for layer in self.layers]
        start, stop = sum(sizes[: chosen[0]]), sum(sizes[: chosen[-1] + 1])
        part = Sequential.__new__(Sequential)
        layers = self.layers[chosen[0] : chosen[-1] + 1]
        cells = [layer._cells for layer in self.layers]
        buffers = self._buffers[sum(cells[: chosen[0]]) : sum(cells[: chosen[-1] + 1])]
        part._hold(layers, self._params[start:stop], self._grads[start:stop], buffers, self._freezes)
        if all(row.kind.only_training for row in part._rows()):
            raise ValueError(f"Sequential expects a slice with a layer that predictions need, got {i}: {layers}")
        part._begin()
        part._whole = self  # the layers know it weakly
        return part

    def astype(self, dtype: DTypeLike) -> "Sequential":
        """Return a copy of the model in another dtype, its parameters rounded where they have to be.

        Parameters
        ----------
        dtype : {"float32", "float64"}

        Returns
        -------
        Sequential
            With the metadata of this one, and its layers as `trainable`.

        Raises
        ------
        TypeError
            If it is another dtype.
        ValueError
            If float32 cannot hold a parameter.

        Examples
        --------
        >>> import fastbp
        >>> fastbp.mlp([4, 3], rng=0).astype("float64")
        Sequential(Dense(4, 3, activation='identity', dtype='float64'))
        """
        name = check.float_dtype(dtype, "astype").name
        twin = Sequential(*(made(in_dtype(config, name)) for config in self._config()))
        given = self._tensors()
        for key, value in twin._tensors().items():
            with np.errstate(over="ignore"):
                value[...] = given[key]
            if (np.isinf(value) & np.isfinite(given[key])).any():
                most = np.abs(given[key][np.isfinite(given[key])]).max()
                raise ValueError(f"astype expects parameters that {name} can hold, got one of size {most:g}")
        twin.metadata = copy.deepcopy(self.metadata)
        return twin

    def to_torch(self) -> Any:
        """Return a ``torch.nn.Sequential`` that computes the same, with copies of the parameters.

        A `Dense` layer becomes a Linear, and its activation a module behind it; so the names of the parameters are
        those of ``torch.nn.Sequential(Linear, ReLU, Linear)``. Layers that PyTorch has no class for are those of
        `fastbp.torch`: `Embedding`, `Periodic`, `Residual`, `Scale`, `ParametricActivation`, `Members`, `MemberDense`;
        a Flatten puts the outputs of members side by side. Parameters of layers that are not `trainable` have no
        ``requires_grad``. It is in training mode, as every new module: call ``eval()`` to
        predict.
        `fastbp.from_torch` is the way back, and has an example.

        Raises
        ------
        ImportError
            If PyTorch is not there.
        TypeError
            If PyTorch has no module for a layer: an activation or a kind of layer of your own.
        ValueError
            If a number is a schedule, or a PReLU behind `Members` has several parameters.
        """
        with imports:
            from fastbp.nn.in_torch import check_channels, sequence_of
        check_channels(self.layers, "to_torch")
        return sequence_of(self.layers, flat=any(isinstance(layer, Members) for layer in self.layers))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file; `fastbp.load` reads it.

        Its tensors have the names of `parameters` and PyTorch's shapes: ``safetensors.torch.load_file`` reads it too.
        The file appears whole or not at all.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        TypeError, ValueError
            If `metadata` is no dict or holds what JSON cannot, such as names that are no strings; or if a parameter is
            NaN, which `fastbp.load` refuses. A file that was there before is as it was.

        Examples
        --------
        >>> import os, tempfile, fastbp
        >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
        >>> fastbp.mlp([4, 3], rng=0).save(path)
        >>> fastbp.load(path)
        Sequential(Dense(4, 3, activation='identity'))
        """
        check_table(self.metadata, "save", "metadata")
        tensors = self.state_dict()
        for name, value in tensors.items():
            check.no_nan(value, "save", name)
        write_tensors(path, MODEL, {"layers": self._labels(), "metadata": self.metadata}, tensors)

    def __reduce__(self) -> tuple[Callable[..., "Sequential"], tuple[Any, ...]]:
        return _rebuild_sequential, (self._config(), self._kept(), copy.deepcopy(self.metadata))


def _rebuild_sequential(
    config: list[dict[str, Any]], kept: dict[str, Array] | Array, metadata: dict[str, Any]
) -> Sequential:
    model = Sequential(*map(made, config))
    # pickles of fastbp 0.1 have the parameters alone
    model._bring_back({"params": kept} if isinstance(kept, np.ndarray) else kept)
    model.metadata = metadata
    return model
