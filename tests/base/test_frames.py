"""Data frames of any library: their columns in order are the features, and one without numbers is named."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp._base.frames import as_array
from fastbp.data.preprocessing import Scaler

pa = pytest.importorskip("pyarrow")
pytest.importorskip("narwhals")
COLUMNS = {
    "small": pa.array([1, 2, 3], pa.uint8()),
    "gap": pa.array([4, None, 6]),
    "yes": pa.array([True, None, False]),
    "no": pa.array([False, True, False]),
    "half": pa.array(np.float16([0.5, 1.5, 2.5])),
    "real": pa.array([0.1, 0.2, None]),
}
NUMBERS = np.array([[1, 4, 1, 0, 0.5, 0.1], [2, np.nan, np.nan, 1, 1.5, 0.2], [3, 6, 0, 0, 2.5, np.nan]])


class Stream:
    """A frame of a library that nobody knows: it has Arrow's protocol alone."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, schema=None):
        return self.table.__arrow_c_stream__(schema)


class Interchange:
    """The same with the protocol before that."""

    def __init__(self, table):
        self.table = table

    def __dataframe__(self, *arguments, **options):
        return self.table.__dataframe__(*arguments, **options)


def pandas(table):
    return pytest.importorskip("pandas").DataFrame({name: table[name].to_pandas() for name in table.column_names})


def of_pandas_by_arrow(table):
    return table.to_pandas(types_mapper=pytest.importorskip("pandas").ArrowDtype)


FRAMES = [lambda table: table, Stream, Interchange, of_pandas_by_arrow]
KINDS = ["pyarrow", "stream", "interchange", "pandas of Arrow's types"]


@pytest.mark.parametrize("frame", FRAMES, ids=KINDS)
def test_columns_are_features_in_their_order_and_what_is_missing_is_nan(frame):
    for names in (list(COLUMNS), list(COLUMNS)[::-1], ["real"], ["small", "no"]):
        if frame is Interchange:
            names = [name for name in names if name != "half"]  # which it does not know
        table = pa.table({name: COLUMNS[name] for name in names})
        found = as_array(frame(table), np.dtype(np.float64), "test", "x")
        assert_array_equal(found, NUMBERS[:, [list(COLUMNS).index(name) for name in names]])


@pytest.mark.parametrize("frame", [*FRAMES, pandas], ids=[*KINDS, "pandas"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array(["x", "y", "z"]), "str|String"),
        (pa.array([1, 2, 3], pa.timestamp("s")), "datetime64|Datetime|timestamp"),
        (pa.array(["x", "y", "x"]).dictionary_encode(), "category|Categorical|dictionary"),
        (pa.array([1, 2, 3], pa.decimal128(5, 2)), "object|Decimal|decimal"),
    ],
    ids=["text", "dates", "categories", "decimals"],
)
def test_a_column_without_numbers_is_named(frame, values, kind):
    for columns in ({"a": COLUMNS["small"], "city": values}, {"city": values}):
        if frame is Interchange and "decimal" in kind:
            continue  # which it does not know
        x = frame(pa.table(columns))
        trainer = fastbp.Trainer(fastbp.mlp([len(columns), 3], rng=0))
        message = f"x of real numbers up to 64 bits, got dtype ({kind}).* in column 'city'"
        with pytest.raises(TypeError, match=message):
            trainer.step(x, [0, 1, 2])
        with pytest.raises(TypeError, match=message):
            trainer.model.predict(x)
        assert trainer.steps == 0


@pytest.mark.parametrize("frame", [*FRAMES, pandas], ids=[*KINDS, "pandas"])
def test_a_frame_trains_predicts_and_is_scaled_as_its_array(frame):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    x[:, 2] = rng.integers(0, 9, 60)
    given = frame(pa.table({f"c{i}": pa.array(x[:, i].astype("int64") if i == 2 else x[:, i]) for i in range(4)}))
    found = []
    for each in (x, given):
        trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0))
        history = trainer.fit(each, y, epochs=2, rng=1, validation_data=(each, y), progress=False)
        scaled = Scaler.fit(each, "standardize").transform(each)
        found.append(
            [dict(history), trainer.evaluate(each, y), trainer.model.predict(each).tobytes(), scaled.tobytes()]
        )
    assert found[0] == found[1]


def test_without_narwhals_a_frame_that_numpy_can_read_is_read_and_others_name_the_extra(monkeypatch):
    table = pa.table({name: COLUMNS[name] for name in ("small", "real")})
    monkeypatch.setitem(sys.modules, "narwhals", None)
    assert_array_equal(as_array(table, np.dtype(np.float64), "test", "x"), NUMBERS[:, [0, 5]])
    with pytest.raises(
        ImportError, match=r"narwhals, which reads the columns of Stream, .* pip install 'fastbp\[data\]'"
    ):
        as_array(Stream(table), np.dtype(np.float64), "test", "x")


def test_what_has_no_columns_is_an_array_to_numpy():
    series = pytest.importorskip("pandas").Series([1.0, 2.0])
    for x in (series, pa.array([1.0, 2.0]), pa.chunked_array([[1.0], [2.0]])):
        assert_array_equal(as_array(x, np.dtype(np.float64), "test", "x"), [1.0, 2.0])
