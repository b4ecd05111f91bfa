"""TableModel: predictions from any table with the columns of training."""

import numpy as np
import pytest

import fastbp
from fastbp.data.columns.encoder import Encoder
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import find_roles
from fastbp.data.columns.target import find_target
from fastbp.data.reading.files import read_table
from fastbp.data.reading.frames import read_frame
from fastbp.data.reading.table import TableError
from fastbp.tables.network import embedding_dims, table_mlp

pa = pytest.importorskip("pyarrow")

ROWS = 90
COLUMNS = {
    "size": [None if i % 11 == 4 else i % 7 + 0.5 for i in range(ROWS)],
    "shop": [f"shop {i % 13}" for i in range(ROWS)],
    "open": [i % 3 == 0 for i in range(ROWS)],
    "kind": [("0" if i % 7 < 4 else "1") + "0501" for i in range(ROWS)],
    "price": [1000.0 + 10 * (i % 7) + i % 13 for i in range(ROWS)],
}


def trained(target, **options):
    """Train on the columns, with `target` the one to predict."""
    table = read_frame(pa.table(COLUMNS))
    found = find_target(table, [target])
    given = {"drop": ("price",) if target == "kind" else ("kind",)} | options
    encoder = Encoder.fit(table, find_roles(table, ColumnOptions(target=(target,), **given)))
    y = found.read(table).y
    scaler = None if found.classes else fastbp.Scaler.fit(y, "standardize")
    network = table_mlp(
        [len(encoder.feature_names), 16, len(found.classes) or 1], encoder.cardinalities, "relu", rng=0,
        dtype="float32", init=None, norm=None, dropout=0.0,
    )  # fmt: skip
    trainer = fastbp.Trainer(network, "softmax_cross_entropy" if found.classes else "mse", fastbp.Adam(0.02))
    x = encoder.transform(table)
    trainer.fit(x, y if scaler is None else scaler.transform(y), epochs=80, batch_size=30, rng=0, progress=False)
    return fastbp.TableModel(network, encoder, found, scaler)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "kinds.safetensors"
    trained("kind").save(path)
    return fastbp.TableModel.load(path)


@pytest.fixture(scope="module")
def quantities(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "prices.safetensors"
    trained("price").save(path)
    return fastbp.TableModel.load(path)


def sources(tmp_path):
    """Yield the columns as each library has them, and as files."""
    table = pa.table(COLUMNS)
    yield table
    yield table.select(["price", "open", "shop", "size"]).append_column("more", pa.array(range(ROWS)))
    text = table.set_column(1, "shop", table.column("shop").dictionary_encode())
    yield text.set_column(0, "size", table.column("size").cast(pa.string()))
    yield read_frame(table)
    if pandas := pytest.importorskip("pandas"):
        frame = pandas.DataFrame(COLUMNS)
        yield frame.set_index(frame.index[::-1])
    try:
        import polars
    except ImportError:
        pass
    else:
        yield polars.DataFrame(COLUMNS)
    from pyarrow import csv, parquet

    parquet.write_table(table, tmp_path / "t.parquet")
    yield tmp_path / "t.parquet"
    csv.write_csv(table, tmp_path / "t.csv")
    yield str(tmp_path / "t.csv")


def test_every_source_gives_the_same_answers_in_the_order_of_its_rows(classes, quantities, tmp_path):
    kinds, p, prices = None, None, None
    for source in sources(tmp_path):
        found = classes.predict(source), classes.predict_proba(source), quantities.predict(source)
        if kinds is None:
            kinds, p, prices = found
        for ours, expected in zip(found, (kinds, p, prices), strict=True):
            np.testing.assert_array_equal(ours, expected)
    assert classes.target.classes == ("00501", "10501")
    assert np.mean(kinds == np.array(COLUMNS["kind"])) > 0.9
    assert p.shape == (ROWS, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(np.array(classes.target.classes)[p.argmax(axis=1)], kinds)
    assert prices.shape == (ROWS,)
    assert np.sqrt(np.mean((prices - COLUMNS["price"]) ** 2)) < 15  # of prices around 1000


def test_what_training_did_not_have_is_told_as_such(classes):
    new = pa.table({"size": [2.5, 2.5], "shop": ["elsewhere", "nowhere"], "open": [True, True]})
    p = classes.predict_proba(new)
    assert np.isfinite(p).all()
    np.testing.assert_array_equal(p[0], p[1])


def test_one_error_names_all_that_does_not_fit(classes):
    with pytest.raises(TableError, match=r"'size' should hold a number.*no column 'shop'.*no column 'open'"):
        classes.predict(pa.table({"size": [pa.scalar([1])], "shops": ["a"]}))
    with pytest.raises(TableError, match=r"'size' should hold a number, got 'big' in row 2"):
        classes.predict(pa.table({"size": ["1", "big"], "shop": ["a", "b"], "open": [True, False]}))
    with pytest.raises(TypeError, match="data frame or the path of a table, got ndarray"):
        classes.predict(np.zeros((2, 3)))


def test_quantities_have_no_probabilities(quantities):
    with pytest.raises(ValueError, match="expects classes, and price is a quantity"):
        quantities.predict_proba(pa.table(COLUMNS))


def test_saving_again_leaves_the_network_as_it_was_and_the_file_the_same(classes, tmp_path):
    before = dict(classes.network.metadata)
    classes.save(tmp_path / "again.safetensors")
    assert classes.network.metadata == before
    again = fastbp.TableModel.load(tmp_path / "again.safetensors")
    np.testing.assert_array_equal(again.predict_proba(pa.table(COLUMNS)), classes.predict_proba(pa.table(COLUMNS)))
    assert repr(again) == "TableModel(kind: 2 classes of size, shop, open)"


def test_parts_that_do_not_fit_and_networks_of_no_table_are_named(classes, quantities, tmp_path):
    with pytest.raises(ValueError, match="inputs of the network for"):
        fastbp.TableModel(fastbp.mlp([2, 2], rng=0), classes.encoder, classes.target)
    with pytest.raises(ValueError, match="2 outputs of the network for 1 quantities"):
        fastbp.TableModel(classes.network, classes.encoder, quantities.target)
    with pytest.raises(ValueError, match="a scaler of 1 quantities"):
        fastbp.TableModel(classes.network, classes.encoder, classes.target, quantities.scaler)
    fastbp.mlp([2, 2], rng=0).save(tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="a network of no table"):
        fastbp.TableModel.load(tmp_path / "bare.safetensors")


def test_a_code_becomes_half_as_many_numbers_as_there_are_codes_and_8_at_most(classes):
    assert embedding_dims([11, 12, 14, 15, 16, 17, 1000]) == [6, 6, 7, 8, 8, 8, 8]
    (embedding, *_) = classes.network.layers
    assert embedding.dims == (7,)
    assert not embedding.weights[0][0].any()


def test_rows_that_were_taken_are_called_as_in_the_file(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,2\n3,4\nx,5\n")
    table = read_table(str(tmp_path / "t.csv")).take(np.array([2, 0]))
    assert table.where(0) == "row 3 (line 4)"
    assert table.take(np.array([1])).where(0) == "row 1 (line 2)"
