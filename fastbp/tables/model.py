"""A network with all that it takes to predict from a table, in one file."""

import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastbp._base.guard import Guarded
from fastbp.data.columns.encoder import Encoder
from fastbp.data.columns.target import Target
from fastbp.data.preprocessing import Scaler
from fastbp.data.reading.files import read_table
from fastbp.data.reading.frames import is_frame, read_frame
from fastbp.data.reading.table import FOUND, ReadOptions, Table
from fastbp.nn.member_outputs import average_members
from fastbp.nn.saving import load
from fastbp.nn.sequential import Sequential
from fastbp.tables.limits import Limits

__all__ = ["TableModel", "class_probabilities"]

Array = NDArray[Any]


class TableModel(Guarded):
    """Columns of a table → features → network → classes as they stood in the table, or quantities in their units.

    ``fastbp train TABLE --target NAME`` writes one, which `load` reads.

    Parameters
    ----------
    network : Sequential
    encoder : Encoder
        Makes the network's features of the columns.
    target : Target
        What its outputs mean.
    scaler : Scaler, optional
        Of quantities, which the network's outputs were scaled by.
    reading : ReadOptions, optional
        How text of the same table is read where it does not tell.
    limits : Limits, optional
        Of quantities, which answers are moved into.

    Attributes
    ----------
    network, encoder, target, scaler, reading, limits
        Those.

    Raises
    ------
    ValueError
        If features or outputs of the parts differ.

    Examples
    --------
    >>> import os, tempfile, pyarrow, fastbp
    >>> from fastbp.data.columns.encoder import Encoder
    >>> from fastbp.data.columns.options import ColumnOptions
    >>> from fastbp.data.columns.roles import find_roles
    >>> from fastbp.data.columns.target import find_target
    >>> from fastbp.data.reading.frames import read_frame
    >>> sizes, fruits = [1.5, 2.0, 1.0, 9.0, 8.5, 10.0], ["plum", "plum", "plum", "melon", "melon", "melon"]
    >>> table = read_frame(pyarrow.table({"size": sizes, "fruit": fruits}))
    >>> encoder = Encoder.fit(table, find_roles(table, ColumnOptions(target=("fruit",))))
    >>> target = find_target(table, ["fruit"])
    >>> network = fastbp.mlp([1, 8, 2], rng=0)
    >>> trainer = fastbp.Trainer(network, optimizer=fastbp.Adam(0.1))
    >>> x, y = encoder.transform(table), target.read(table).y
    >>> history = trainer.fit(x, y, epochs=50, rng=0, progress=False)
    >>> path = os.path.join(tempfile.mkdtemp(), "fruits.safetensors")
    >>> fastbp.TableModel(network, encoder, target).save(path)

    Any table with such a column will do, be it a file or a data frame:

    >>> model = fastbp.TableModel.load(path)
    >>> model.predict(pyarrow.table({"colour": ["green", "blue"], "size": [9.5, 1.0]}))
    array(['melon', 'plum'], dtype='<U5')
    >>> model.target.classes
    ('melon', 'plum')
    >>> model.predict_proba(pyarrow.table({"size": [9.5, 1.0]})).shape
    (2, 2)
    """

    network: Final[Sequential]
    encoder: Final[Encoder]
    target: Final[Target]
    scaler: Final[Scaler | None]
    reading: Final[ReadOptions]
    limits: Final[Limits | None]

    def __init__(
        self,
        network: Sequential,
        encoder: Encoder,
        target: Target,
        scaler: Scaler | None = None,
        reading: ReadOptions = FOUND,
        limits: Limits | None = None,
    ) -> None:
        features, outputs = len(encoder.feature_names), len(target.classes) or len(target.columns)
        if network.in_features != features:
            raise ValueError(f"{network.in_features} inputs of the network for {features} features")
        if network.out_features != outputs * network.members:
            what = "classes" if target.classes else "quantities"
            raise ValueError(f"{network.out_features} outputs of the network for {outputs} {what}")
        if scaler is not None and (target.classes or scaler.shift.shape not in ((), (outputs,))):
            raise ValueError(f"a scaler of {scaler.shift.size} quantities for {outputs} outputs")
        if limits is not None and (target.classes or limits.low.shape != (outputs,)):
            raise ValueError(f"limits of {limits.low.size} quantities for {outputs} outputs")
        self.network, self.encoder, self.target = network, encoder, target
        self.scaler, self.reading, self.limits = scaler, reading, limits

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TableModel":
        """Read what ``fastbp train`` or `save` wrote. Reading runs no code of the file.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged, or its network is none of a table.
        """
        network = load(path)
        if "table" not in network.metadata:
            raise ValueError(f"{os.fspath(path)} holds a network of no table; fastbp.load reads it")
        try:
            return cls.of_network(network)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} is damaged: its metadata does not fit ({error})") from None

    @classmethod
    def of_network(cls, network: Sequential) -> "TableModel":
        """Make the model that a network's metadata describes, as `to_dict` does."""
        meta = network.metadata
        scaler, limits = meta.get("target_scaler"), meta.get("target_limits")
        return cls(
            network,
            Encoder.from_dict(meta["table"]["encoder"]),
            Target.from_dict(meta["table"]["target"]),
            None if scaler is None else Scaler.from_dict(scaler),
            ReadOptions(**meta.get("reading", {})),
            None if limits is None else Limits.from_dict(limits),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON of all but the network."""
        table = {"encoder": self.encoder.to_dict(), "target": self.target.to_dict()}
        scaler = None if self.scaler is None else self.scaler.to_dict()
        found = {"table": table, "target_scaler": scaler, "reading": self.reading.given()}
        return found if self.limits is None else found | {"target_limits": self.limits.to_dict()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as safetensors: the network's parameters, and the rest as JSON in the header."""
        before: Mapping[str, Any] = self.network.metadata
        try:
            self.network.metadata = dict(before) | self.to_dict()
            self.network.save(path)
        finally:
            self.network.metadata = dict(before)

    def predict(self, table: Any) -> Array:
        """Return the answer to each row, in their order.

        Parameters
        ----------
        table : data frame, Table, str or path
            A data frame of pandas, polars, Arrow ..., or a file as ``fastbp predict`` takes. It has the columns of
            training, in any order and among others. A category that training did not have is told as such.

        Returns
        -------
        answers : ndarray
            Of str, (rows,), the classes as they stood in the table of training; or of float64, quantities in their
            units: (rows,) of one target, (rows, targets) of several.

        Raises
        ------
        TableError
            A ValueError that names each column that is missing, is of another kind, or holds what cannot be read.
        FileNotFoundError, ImportError
            If there is no such file, or no pyarrow.
        """
        z = self.outputs(self.read(table))
        if self.target.classes:
            return np.asarray(np.array(self.target.classes)[z.argmax(axis=1)])
        values = self.quantities(z)
        return values[:, 0] if values.shape[1] == 1 else values

    def predict_proba(self, table: Any) -> NDArray[np.float64]:
        """Return the probability of each class, (rows, classes), in the order of ``target.classes``.

        Takes and raises what `predict` does, and ValueError if the target is a quantity.
        """
        if not self.target.classes:
            raise ValueError(f"predict_proba expects classes, and {', '.join(self.target.columns)} is a quantity")
        return class_probabilities(self.outputs(self.read(table)))

    def quantities(self, z: Array) -> NDArray[np.float64]:
        """Return the network's outputs as quantities in their units, (rows, targets)."""
        values = z.astype(np.float64) if self.scaler is None else z * self.scaler.scale + self.scaler.shift
        return np.asarray(values) if self.limits is None else self.limits.apply(values)

    def outputs(self, rows: Table) -> Array:
        """Return what the network makes of rows, of members their average: logits, or quantities as it has them."""
        z = self.network.predict(self.encoder.transform(rows, dtype=self.network.dtype))
        return average_members(z, self.network.members, "classes" if self.target.classes else "numbers")

    def read(self, table: Any, reading: ReadOptions = FOUND) -> Table:
        """Return what `predict` takes as a Table; text is read as `reading` says, and else as in training."""
        if isinstance(table, Table):
            return table
        if is_frame(table):
            return read_frame(table)
        if not isinstance(table, (str, os.PathLike)):
            raise TypeError(f"TableModel expects a data frame or the path of a table, got {type(table).__name__}")
        return read_table(os.fspath(table), reading, self.reading)

    def __repr__(self) -> str:
        what = f"{len(self.target.classes)} classes" if self.target.classes else "quantities"
        columns = ", ".join(column.column for column in self.encoder.columns)
        return f"TableModel({', '.join(self.target.columns)}: {what} of {columns})"


def class_probabilities(z: Array) -> NDArray[np.float64]:
    """Softmax of logits, (rows, classes)."""
    shifted = np.exp(z - z.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
