"""The tables: files of Python's and Debian's packages, and how their rows are split.

Numbers are float64 columns, missing ones NaN; all else is a category of pandas, missing values included. Nothing is
filled in here: each method does that in its own way.
"""

import bz2
import functools
import importlib.util
import lzma
import os
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

# Where Debian's r-cran-* packages put their files; no R is needed to read them.
R_LIBRARY = Path(os.environ.get("R_LIBRARY", "/usr/lib/R/site-library"))
TEST = 4096  # rows at most


@dataclass(frozen=True)
class Table:
    """A table and the column that is to be predicted: classes, or numbers."""

    name: str
    features: pd.DataFrame
    target: pd.Series

    @property
    def classes(self) -> list[str]:
        """The classes in their order; none of a quantity."""
        return list(self.target.cat.categories) if self.target.dtype == "category" else []


@dataclass(frozen=True)
class Split:
    """Three lots of rows of one table; ``y`` holds indices of the classes, or numbers."""

    classes: list[str]
    x_train: pd.DataFrame
    y_train: np.ndarray
    x_validation: pd.DataFrame
    y_validation: np.ndarray
    x_test: pd.DataFrame
    y_test: np.ndarray


def split(table: Table, seed: int, most: int) -> Split:
    """Draw rows at random, of each class the same part.

    Training takes 60 % of the rows, but not more than ``most``, validation a third of that, the test what is left.
    """
    rng = np.random.default_rng([seed, zlib.crc32(table.name.encode())])
    rows = len(table.target)
    train, validation = min(most, int(0.6 * rows)), min(most // 3, int(0.2 * rows))
    ends = np.cumsum([train, validation, min(TEST, rows - train - validation)])
    # Rows of a class are spread evenly over 0..1 in an order drawn at random; any stretch has its part of each class.
    place = np.empty(rows)
    y = table.target.cat.codes.to_numpy() if table.classes else np.zeros(rows, np.int8)
    for c in np.unique(y):
        of_class = np.flatnonzero(y == c)
        place[rng.permutation(of_class)] = (np.arange(len(of_class)) + rng.random()) / len(of_class)
    order = np.argsort(place, kind="stable")
    y = y.astype(np.int64) if table.classes else table.target.to_numpy(np.float64)
    parts = [rng.permutation(part) for part in np.split(order, ends)[:3]]
    frames = [(table.features.iloc[part].reset_index(drop=True), y[part]) for part in parts]
    return Split(table.classes, *frames[0], *frames[1], *frames[2])


def load(name: str) -> Table:
    """Read a table by its name in `TABLES`."""
    read, target, change = TABLES[name]
    frame = read()
    frame = change(frame) if change else frame
    frame = frame[frame[target].notna()]
    y = frame.pop(target)
    if not pd.api.types.is_float_dtype(y):
        y = pd.Series(pd.Categorical(y.astype(str)), name=target)
    return Table(name, pd.DataFrame({str(c): _column(frame[c]) for c in frame}), y.reset_index(drop=True))


def _column(column: pd.Series) -> pd.Series:
    """Return a column as a number or a category."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype("float64").reset_index(drop=True)
    return column.astype(object).where(column.notna()).astype("category").reset_index(drop=True)


# ---------------------------------------------------------------------------------------------------- where they are
def _csv(package: str, path: str) -> Callable[[], pd.DataFrame]:
    return lambda: pd.read_csv(_beside(package) / path)


def _json(package: str, path: str) -> Callable[[], pd.DataFrame]:
    return lambda: pd.read_json(_beside(package) / path)


def _beside(package: str) -> Path:
    """Return a package's folder; the package is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"the package {package} is not installed")
    return Path(found.origin).parent


def _sklearn(name: str) -> Callable[[], pd.DataFrame]:
    def read() -> pd.DataFrame:
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        y = bunch.target if name == "diabetes" else bunch.target.astype(str)
        return bunch.data.assign(target=y)

    return read


def _r(package: str, name: str) -> Callable[[], pd.DataFrame]:
    """Read a data frame of R: a file of its own, or a part of the package's one file of all."""

    def read() -> pd.DataFrame:
        import rdata

        warnings.filterwarnings("ignore", module="rdata")
        folder = R_LIBRARY / package / "data"
        if (folder / f"{name}.rda").exists():
            return rdata.read_rda(folder / f"{name}.rda")[name]
        index = rdata.conversion.convert(rdata.parser.parse_file(folder / "Rdata.rdx"))
        first, size = map(int, index["variables"][name])
        part = (folder / "Rdata.rdb").read_bytes()[first : first + size]
        return rdata.conversion.convert(rdata.parser.parse_data(_unpacked(part)))

    return read


def _unpacked(part: bytes) -> bytes:
    """Unpack an object of R's `.rdb`: four bytes of its size, then how it is packed."""
    how, packed = part[4:5], part[5:]
    if how == b"Z":
        return lzma.decompress(packed, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}])
    return bz2.decompress(packed) if how == b"2" else zlib.decompress(part[4:])


def _common(target: str, least: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Keep classes that have a part of the rows."""
    return lambda frame: frame[frame[target].map(frame[target].value_counts(normalize=True)).astype(float) >= least]


def _log(target: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**{target: np.log(frame[target].astype(float))})


def _quantity(target: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**{target: frame[target].astype(float)})


def _cars(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave the name out; of the date, its year."""
    year = pd.to_datetime(frame["Year"]).dt.year
    return frame.drop(columns="Name").assign(Year=year, Miles_per_Gallon=frame["Miles_per_Gallon"].astype(float))


# Each by how it is read, its target, and what is changed before.
TABLES = {
    "attrition": (_r("modeldata", "attrition"), "Attrition", None),
    "breast cancer": (_sklearn("breast_cancer"), "target", None),
    "churn": (_r("modeldata", "wa_churn"), "churn", None),
    "credit": (_r("modeldata", "credit_data"), "Status", None),
    "digits": (_sklearn("digits"), "target", None),
    "letters": (_r("mlbench", "LetterRecognition"), "lettr", None),
    "penguins": (_csv("palmerpenguins", "data/penguins.csv"), "species", None),
    "satellite": (_r("mlbench", "Satellite"), "classes", None),
    "shuttle": (_r("mlbench", "Shuttle"), "Class", _common("Class", 0.01)),
    "spam": (_r("kernlab", "spam"), "type", None),
    "titanic": (_r("carData", "TitanicSurvival"), "survived", None),
    "vehicle": (_r("mlbench", "Vehicle"), "Class", None),
    "ames": (_r("modeldata", "ames"), "Sale_Price", _log("Sale_Price")),
    "cars": (_json("vega_datasets", "_data/cars.json"), "Miles_per_Gallon", _cars),
    "concrete": (_r("modeldata", "concrete"), "compressive_strength", None),
    "diabetes": (_sklearn("diabetes"), "target", None),
    "diamonds": (_csv("plotnine", "data/diamonds.csv"), "price", _log("price")),
    "sacramento": (_r("modeldata", "Sacramento"), "price", _log("price")),
    "star98": (_csv("statsmodels", "datasets/star98/star98.csv"), "PR50M", _quantity("PR50M")),
}
load = functools.cache(load)
