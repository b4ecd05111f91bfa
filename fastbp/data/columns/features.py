"""What a network is told of one column: fitted on training rows, applied to any, kept as plain data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.dates import DAY, TimeForm
from fastbp.data.columns.encoding import USUAL, Encoding
from fastbp.data.columns.forms import form_from
from fastbp.data.columns.labels import LabelForm, has_labels
from fastbp.data.columns.numbers import NumberForm
from fastbp.data.columns.quantiles import Quantiles
from fastbp.data.columns.roles import MOST_ONE_HOT, Role
from fastbp.data.columns.scale import Scale
from fastbp.data.columns.survey import known_values, survey_labels
from fastbp.data.columns.values import Read, is_numeric, is_text

if TYPE_CHECKING:
    import pyarrow

Array = NDArray[Any]


class Encoded(NamedTuple):
    """Some rows of a column.

    numbers : list of arrays of float64, (rows,)
        Scaled ones.
    flags : list of arrays, (rows,)
        Numbers of a fixed size: 0 and 1, -1 and 1, sines.
    code : array of int64, (rows,), or None
        Of an embedding.
    wrong : array of bool, (rows,), or None
        What could not be read.
    unseen : array of bool, (rows,), or None
        What training did not have.
    """

    numbers: list[Array] = []  # noqa: RUF012
    flags: list[Array] = []  # noqa: RUF012
    code: Array | None = None
    wrong: Array | None = None
    unseen: Array | None = None


@dataclass(frozen=True)
class Outputs:
    """Names of what a column becomes, as `Encoded` has them, and how many codes there are: 0 without a code."""

    numbers: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    codes: int = 0


@dataclass(frozen=True)
class NumberColumn:
    """A number: scaled, 0 where it is missing, and whether it is, if it was missing in a training row."""

    kind: ClassVar[str] = "number"
    column: str
    form: NumberForm
    scale: Scale | Quantiles
    has_missing: bool

    @classmethod
    def fit(cls, role: Role, column: "Column[pyarrow.Array]", encoding: Encoding = USUAL) -> Self:
        """Fit to a column of training rows."""
        assert isinstance(role.form, NumberForm)
        reads = column.map(role.form.read)
        dtype, missing = _kind(reads)
        scale = (Quantiles if encoding.quantiles else Scale).fit(known_values(reads, dtype))
        return cls(role.column, role.form, scale, missing)

    @cached_property
    def outputs(self) -> Outputs:
        """Return what it becomes."""
        return Outputs((self.column,), (f"{self.column} missing",) * self.has_missing)

    def encode(self, column: "pyarrow.Array", form: NumberForm) -> Encoded:
        """Encode a block of a `plain` column that is written in this form."""
        read = form.read(column)
        return Encoded(
            [_filled(self.scale.apply(read.values), read)], [read.missing] * self.has_missing, None, read.wrong
        )

    @staticmethod
    def takes(kind: Any) -> bool:
        """Tell whether a column of this type of pyarrow can be one."""
        return is_text(kind) or is_numeric(kind) or str(kind) == "bool"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"form": self.form.to_dict(), "scale": self.scale.to_dict(), "has_missing": self.has_missing}

    @classmethod
    def from_dict(cls, column: str, state: Mapping[str, Any]) -> Self:
        """Make the column that `to_dict` described."""
        form = form_from(state["form"], NumberForm)
        kind = Quantiles if "quantiles" in state["scale"] else Scale
        return cls(column, form, kind.from_dict(state["scale"]), _flag(state["has_missing"]))


@dataclass(frozen=True)
class CategoryColumn:
    """A category: its places are the values of training rows in their order, and missing if it was in one.

    Two places are -1 and 1, and more have a column for each. Or places have codes of an embedding: 0 is what training
    did not have, 1 the first place. Without an embedding that is 0 in each column.

    coded : whether it has codes, which `Encoding` decides by the number of values
    """

    kind: ClassVar[str] = "category"
    column: str
    form: LabelForm
    values: tuple[str, ...]
    has_missing: bool
    coded: bool
    _place: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the values."""
        object.__setattr__(self, "_place", {value: i for i, value in enumerate(self.values)})

    @classmethod
    def fit(cls, role: Role, column: "Column[pyarrow.Array]", encoding: Encoding = USUAL) -> Self:
        """Fit to a column of training rows."""
        assert isinstance(role.form, LabelForm)
        found = survey_labels(column.map(role.form.read))
        has_missing = encoding.missing_place and found.missing > 0
        coded = encoding.most_one_hot is not None and len(found.names) > encoding.most_one_hot
        return cls(role.column, role.form, role.form.in_order(found.names), has_missing, coded)

    @cached_property
    def outputs(self) -> Outputs:
        """Return what it becomes."""
        places = [f"{self.column}={value}" for value in self.values] + [f"{self.column} missing"] * self.has_missing
        if self.coded:
            return Outputs(codes=len(places) + 1)
        return Outputs(flags=tuple(places[1:] if len(places) == 2 else places))

    def encode(self, column: "pyarrow.Array", form: LabelForm) -> Encoded:
        """Encode a block of a `plain` column that is written in this form."""
        labels = form.read(column)
        places = [self._place.get(name, -1) for name in labels.names]
        places.append(len(self.values) if self.has_missing else -1)  # the place of code -1
        place = np.array(places, np.int64)[labels.codes]
        unseen = (place < 0) & (labels.codes >= 0)
        count = len(self.values) + self.has_missing
        if self.coded:
            return Encoded(code=place + 1, unseen=unseen)
        if count == 2:
            return Encoded(flags=[np.array([-1.0, 1.0, 0.0])[place]], unseen=unseen)
        return Encoded(flags=[place == i for i in range(count)], unseen=unseen)

    @staticmethod
    def takes(kind: Any) -> bool:
        """Tell whether a column of this type of pyarrow can be one."""
        return has_labels(kind)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        flags = {"has_missing": self.has_missing, "coded": self.coded}
        return {"form": self.form.to_dict(), "values": list(self.values), **flags}

    @classmethod
    def from_dict(cls, column: str, state: Mapping[str, Any]) -> Self:
        """Make the column that `to_dict` described."""
        values = state["values"]
        if type(values) is not list or any(type(v) is not str for v in values) or len(set(values)) < len(values):
            raise ValueError("values should be a list of texts that differ")
        coded = state.get("coded", len(values) > MOST_ONE_HOT)  # files of earlier versions do not say it
        flags = map(_flag, (state["has_missing"], coded))
        return cls(column, form_from(state["form"], LabelForm), tuple(values), *flags)


def _months(times: Array) -> Array:
    return np.asarray(times.astype("M8[us]").astype("M8[M]").astype(np.int64))


# Parts of a time that come back, as parts of their cycle from 0 to below 1
CYCLES: dict[str, Callable[[Array], Array]] = {
    "month": lambda times: _months(times) % 12 / 12,
    "weekday": lambda times: (times // DAY + 3) % 7 / 7,  # Monday is 0, and 1970 began on a Thursday
    "hour": lambda times: times % DAY / DAY,
}


@dataclass(frozen=True)
class TimeColumn:
    """A date or time, or a time of a day: days gone by and the year, scaled; sine and cosine of month, weekday, hour.

    Of parts that are the same in all training rows, such as the hour of dates, there is none.
    """

    kind: ClassVar[str] = "time"
    column: str
    form: TimeForm
    elapsed: Scale
    year: Scale
    cycles: tuple[str, ...]
    has_missing: bool

    @classmethod
    def fit(cls, role: Role, column: "Column[pyarrow.Array]", encoding: Encoding = USUAL) -> Self:
        """Fit to a column of training rows."""
        assert isinstance(role.form, TimeForm)
        reads = column.map(role.form.read)
        known = known_values(reads, np.dtype(np.int64))
        cycles = tuple(name for name, part in CYCLES.items() if _varies(known.map(part)))
        days = Scale.fit(known.map(lambda times: times / DAY))
        years = Scale.fit(known.map(lambda times: (_months(times) // 12).astype(np.float64)))
        return cls(role.column, role.form, days, years, cycles, _kind(reads)[1])

    @cached_property
    def outputs(self) -> Outputs:
        """Return what it becomes."""
        numbers = ["elapsed", "year"] if self.year.spread else ["elapsed"]
        waves = [f"{name} {wave}" for name in self.cycles for wave in ("sin", "cos")]
        flags = waves + ["missing"] * self.has_missing
        named = [tuple(f"{self.column} {name}" for name in names) for names in (numbers, flags)]
        return Outputs(named[0], named[1])

    def encode(self, column: "pyarrow.Array", form: TimeForm) -> Encoded:
        """Encode a block of a `plain` column that is written in this form."""
        read = form.read(column)
        numbers = [self.elapsed.apply(read.values / DAY)]
        if self.year.spread:
            numbers.append(self.year.apply(_months(read.values) // 12))
        angles = [2 * np.pi * CYCLES[name](read.values) for name in self.cycles]
        waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        flags = [_filled(wave, read) for wave in waves] + [read.missing] * self.has_missing
        return Encoded([_filled(values, read) for values in numbers], flags, None, read.wrong)

    def takes(self, kind: Any) -> bool:
        """Tell whether a column of this type of pyarrow can be one."""
        return self.form.takes(kind)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        scales = {"elapsed": self.elapsed.to_dict(), "year": self.year.to_dict()}
        return {"form": self.form.to_dict(), **scales, "cycles": list(self.cycles), "has_missing": self.has_missing}

    @classmethod
    def from_dict(cls, column: str, state: Mapping[str, Any]) -> Self:
        """Make the column that `to_dict` described."""
        cycles = tuple(state["cycles"])
        if cycles != tuple(name for name in CYCLES if name in cycles):
            raise ValueError(f"cycles should be some of {', '.join(CYCLES)}, got {cycles}")
        elapsed, year = (Scale.from_dict(state[name]) for name in ("elapsed", "year"))
        return cls(column, form_from(state["form"], TimeForm), elapsed, year, cycles, _flag(state["has_missing"]))


FeatureColumn = NumberColumn | CategoryColumn | TimeColumn
KINDS: dict[str, type[FeatureColumn]] = {kind.kind: kind for kind in (NumberColumn, CategoryColumn, TimeColumn)}


def _kind(reads: Column[Read]) -> tuple[np.dtype[Any], bool]:
    """Return the dtype of all values, int64 where float64 would lose digits of one, and whether one is missing."""
    kinds = [(read.values.dtype == np.int64, bool(read.missing.any())) for read in reads]
    return np.dtype(np.int64 if any(whole for whole, _ in kinds) else np.float64), any(missing for _, missing in kinds)


def _varies(values: Column[Array]) -> bool:
    """Tell whether not all values are the same."""
    ends = [end for block in values if len(block) for end in (block.min(), block.max())]
    return bool(ends) and max(ends) > min(ends)


def _filled(values: Array, read: Read) -> Array:
    values[read.missing | read.wrong] = 0.0
    return values


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"has_missing and coded should be true or false, got {value!r}")
    return value
