"""Parquet files of numbers, a row group at a time."""

import numpy as np
import pytest

import fastbp
from fastbp.train.order import Layout, draw, rows_at

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

rng = np.random.default_rng(0)
ROWS = 230
X = rng.standard_normal((ROWS, 3)).astype(np.float32)
Y, WEIGHT = rng.integers(0, 3, ROWS), rng.uniform(0, 2, ROWS)


def written(path, group=40, **more):
    columns = {"a": X[:, 0], "y": Y, "b": X[:, 1], "w": WEIGHT, "c": X[:, 2], **more}
    parquet.write_table(pa.table(columns), path, row_group_size=group)
    return path


def trainer():
    return fastbp.Trainer(fastbp.mlp([3, 6, 3], rng=0), optimizer=fastbp.Adam(1e-2))


def test_training_on_a_file_is_training_on_its_rows(tmp_path):
    source = fastbp.ParquetBlocks(written(tmp_path / "t.parquet"), "y", weight="w", window=2)
    assert source.features == ("a", "b", "c")
    assert source.sizes.tolist() == [40] * 5 + [30]
    one, other, generator = trainer(), trainer(), np.random.default_rng(4)
    one.fit(source, epochs=2, batch_size=16, rng=4, validation_data=source, progress=False)
    for _ in range(2):
        layout = Layout(ROWS, source.sizes, 2)
        rows = rows_at(layout, draw(layout, generator), range(ROWS))
        other.fit(X[rows], Y[rows], sample_weight=WEIGHT[rows], batch_size=16, shuffle=False, progress=False)
    assert one.model._params.tobytes() == other.model._params.tobytes()
    assert one.evaluate(source) == one.evaluate(X, Y, WEIGHT)


def test_several_files_follow_one_another_and_features_have_their_order(tmp_path):
    paths = [written(tmp_path / f"{i}.parquet", group=100) for i in range(2)]
    source = fastbp.ParquetBlocks(paths, ["a", "b"], features=["y", "c"], dtype="float64")
    assert source.sizes.tolist() == [100, 100, 30] * 2
    x, y = source.read(5)
    np.testing.assert_array_equal(x, np.stack([Y, X[:, 2]], 1)[200:])
    np.testing.assert_array_equal(y, X[200:, :2])
    assert source.name(5) == f"{paths[1]}: row group 2"


def test_numbers_of_all_types_are_read(tmp_path):
    more = {"i": np.arange(ROWS, dtype=np.uint8), "t": Y == 1, "h": X[:, 0].astype(np.float16)}
    x, y = fastbp.ParquetBlocks(written(tmp_path / "t.parquet", **more), "t", features=list("ihw")).read(1)
    np.testing.assert_array_equal(x, np.stack([more["i"], more["h"], WEIGHT], 1)[40:80].astype(np.float32))
    np.testing.assert_array_equal(y, more["t"][40:80])


def test_an_index_of_pandas_is_no_feature(tmp_path):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"a": X[:, 0], "y": Y}, index=np.arange(ROWS)[::-1]).to_parquet(tmp_path / "t.parquet")
    assert fastbp.ParquetBlocks(tmp_path / "t.parquet", "y").features == ("a",)


def test_row_groups_without_rows_are_no_blocks(tmp_path):
    table = pa.table({"a": X[:, 0], "y": Y})
    with parquet.ParquetWriter(tmp_path / "t.parquet", table.schema) as writer:
        for part in (table[:0], table[:50], table[:0], table[50:]):
            writer.write_table(part)
    source = fastbp.ParquetBlocks(tmp_path / "t.parquet", "y")
    assert source.sizes.tolist() == [50, 180]
    np.testing.assert_array_equal(source.read(1)[0][:, 0], X[50:, 0])


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"target": "z"}, ValueError, "t.parquet has no column 'z'; it has a, y, b, w, c, s"),
            ({"target": "y"}, ValueError, "t.parquet: column 's' should hold numbers, got string"),
            ({"target": "y", "features": ["a", "a"]}, ValueError, "named once, got a twice"),
            ({"target": "y", "features": ["y"]}, ValueError, "named once, got y twice"),
            ({"target": "y", "features": []}, ValueError, "no column beside the target"),
            ({"target": "y", "dtype": "int32"}, TypeError, "dtype float32 or float64, got int32"),
            ({"target": "y", "window": 0}, ValueError, "window of at least 1"),
        ],
    )
    def test_of_columns_and_options(self, tmp_path, options, error, message):
        path = written(tmp_path / "t.parquet", s=["x"] * ROWS)
        with pytest.raises(error, match=message):
            fastbp.ParquetBlocks(path, **options)

    def test_of_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no file .*none.parquet"):
            fastbp.ParquetBlocks(tmp_path / "none.parquet", "y")
        (tmp_path / "text.parquet").write_text("a,b\n")
        with pytest.raises(ValueError, match=r"text.parquet cannot be read as parquet"):
            fastbp.ParquetBlocks(tmp_path / "text.parquet", "y")
        with pytest.raises(ValueError, match="expects a file, got none"):
            fastbp.ParquetBlocks([], "y")
        parquet.write_table(pa.table({"a": X[:, 0], "y": Y}), tmp_path / "other.parquet")
        with pytest.raises(ValueError, match=r"other.parquet has no column 'b', 'w', 'c'"):
            fastbp.ParquetBlocks([written(tmp_path / "t.parquet"), tmp_path / "other.parquet"], "y")

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (pa.array([1.0] * 93 + [None] * (ROWS - 93)), "column 'v' has no value in row 13"),
            (np.where(np.arange(ROWS) == 97, np.inf, 1.0), "column 'v' should hold finite float32 .*got inf in row 17"),
            (np.where(np.arange(ROWS) == 97, 1e39, 1.0), "column 'v' .*finite float32 numbers, got inf in row 17"),
        ],
    )  # fmt: skip
    def test_of_numbers_name_file_row_group_and_row(self, tmp_path, column, message):
        source = fastbp.ParquetBlocks(written(tmp_path / "t.parquet", v=column), "y", features=["a", "b", "v"])
        one = trainer()
        with pytest.raises(ValueError, match=f"t.parquet: row group 2: {message}"):
            one.fit(source, batch_size=16, shuffle=False, progress=False)
        assert one.steps in range(6)

    def test_of_a_file_that_is_damaged_meanwhile(self, tmp_path):
        path = written(tmp_path / "t.parquet")
        source = fastbp.ParquetBlocks(path, "y", features=["a", "b", "c"])
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises((ValueError, OSError), match=r"t.parquet: row group 0"):
            trainer().fit(source, progress=False)
