"""Data sets: what the door gives for each kind of source, and what it refuses."""

import gzip
import struct
import sys

import numpy as np
import pytest

from fastbp.data.datasets import load_dataset, load_digits, load_features
from fastbp.data.reading.table import ReadOptions

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(values):
    """The twin of the reader: IDX as its description says."""
    values = np.asarray(values)
    code = IDX_CODES[values.dtype.str[1:]]
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, size=(40, 3, 2), dtype=np.uint8)


@pytest.fixture
def labels():
    return (np.arange(40) % 4).astype(np.uint8)


@pytest.fixture
def mnist(tmp_path, images, labels):
    """A folder like MNIST's, all unpacked: 30 rows to train with, 10 to test."""
    for part, rows in (("train", slice(30)), ("t10k", slice(30, None))):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images[rows]))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels[rows]))
    return tmp_path


@pytest.fixture
def write_csv(tmp_path):
    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


# --- digits -------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn(library):
    theirs = library("sklearn.datasets").load_digits()
    x, y = load_digits()
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(x, theirs.data)
    np.testing.assert_array_equal(y, theirs.target)


def test_digits_are_split_class_by_class():
    digits = load_dataset("digits")
    assert digits.task == "classification"
    assert digits.classes == tuple("0123456789")
    assert digits.name == "digits"
    assert digits.x_train.dtype == digits.x_test.dtype == np.float32
    assert digits.x_train.flags.c_contiguous
    assert digits.x_test.flags.c_contiguous
    _, y = load_digits()
    np.testing.assert_allclose(np.bincount(digits.y_test), np.bincount(y) * 360 / 1797, atol=1)


def test_same_seed_gives_the_same_split():
    first, again, other = (load_dataset("digits", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x_test, again.x_test)
    np.testing.assert_array_equal(first.y_train, again.y_train)
    assert (first.y_test != other.y_test).any()


def test_test_fraction_0_and_1_keep_all_rows_in_order():
    x, y = load_digits()
    all_train = load_dataset("digits", test_fraction=0)
    all_test = load_dataset("digits", test_fraction=1)
    np.testing.assert_array_equal(all_train.x_train, x)
    np.testing.assert_array_equal(all_test.y_test, y)
    assert all_train.x_test.shape == all_test.x_train.shape == (0, 64)


def test_test_fraction_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"test_fraction should be in 0\.\.1, got 20"):
        load_dataset("digits", test_fraction=20)


# --- IDX ----------------------------------------------------------------------------------------


def test_idx_folder_gives_its_own_test_set(mnist, images, labels):
    data = load_dataset(mnist)
    np.testing.assert_array_equal(data.x_train, images[:30].reshape(30, 6))
    np.testing.assert_array_equal(data.x_test, images[30:].reshape(10, 6))
    np.testing.assert_array_equal(data.y_train, labels[:30])
    np.testing.assert_array_equal(data.y_test, labels[30:])
    assert data.classes == ("0", "1", "2", "3")
    assert data.name == str(mnist)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dash", ["-", "."])
def test_idx_files_are_found_as_they_are_in_the_wild(mnist, images, dash, compressed):
    for path in list(mnist.iterdir()):
        content = path.read_bytes()
        path.unlink()
        new = path.with_name(path.name.replace("-idx", f"{dash}idx") + ".gz" * compressed)
        new.write_bytes(gzip.compress(content) if compressed else content)
    np.testing.assert_array_equal(load_dataset(mnist).x_test, images[30:].reshape(10, 6))


def test_gz_file_that_is_not_compressed_is_read(mnist, images):
    path = mnist / "train-images-idx3-ubyte"  # as browsers save it
    path.rename(path.with_name(path.name + ".gz"))
    np.testing.assert_array_equal(load_dataset(mnist).x_train, images[:30].reshape(30, 6))


@pytest.mark.parametrize("dtype", IDX_CODES)
def test_every_idx_dtype_is_read(tmp_path, dtype):
    values = np.array([[0, 1], [2, 100]], dtype)
    path = tmp_path / "x-idx2"
    path.write_bytes(idx_bytes(values))
    np.testing.assert_array_equal(load_features(path), values)


def test_idx_folder_without_t10k_is_split(mnist):
    for path in mnist.glob("t10k*"):
        path.unlink()
    data = load_dataset(mnist, test_fraction=0.2)
    assert (len(data.x_train), len(data.x_test)) == (24, 6)


def test_labels_are_encoded_from_0(mnist, labels):
    for part, rows in (("train", slice(30)), ("t10k", slice(30, None))):
        (mnist / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels[rows] * 2 + 1))
    data = load_dataset(mnist)
    assert data.classes == ("1", "3", "5", "7")
    np.testing.assert_array_equal(data.y_train, labels[:30])


def damage_truncated(content):
    return content[:-1]


def damage_trailing(content):
    return content + b"\0"


def damage_magic(content):
    return b"\1" + content[1:]


def damage_dtype(content):
    return content[:2] + b"\x0a" + content[3:]


def damage_header(content):
    return content[:7]


def damage_empty(content):
    return b""


def damage_gzip(content):
    return gzip.compress(content)[:-9]


def damage_huge(content):
    return content[:4] + b"\xff" * 12 + content[16:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncated, r"is truncated: expected 196 bytes for shape \(30, 3, 2\).*got 195"),
        (damage_trailing, "has bytes after its end: expected 196 bytes.*got 197"),
        (damage_magic, "is not an IDX file: expected it to begin with 00 00.*got 01 00 08 03"),
        (damage_dtype, "is not an IDX file: .* got 00 00 0a 03"),
        (damage_header, "is truncated: expected a header of 16 bytes for 3 dimensions, got 7"),
        (damage_empty, "is no IDX file: it is empty"),
        (damage_gzip, "is a damaged or truncated gzip file"),
        (damage_huge, "is truncated: expected"),
    ],
)
def test_damaged_idx_file_is_named(mnist, damage, message):
    path = mnist / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"train-images-idx3-ubyte {message}"):
        load_dataset(mnist)


def test_missing_idx_file_is_named(mnist):
    (mnist / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match=r"holds no t10k-labels-idx1-ubyte or .*holds t10k-images"):
        load_dataset(mnist)


def test_idx_images_and_labels_that_do_not_pair_are_named(mnist, labels):
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels[:29]))
    with pytest.raises(ValueError, match=r"train-images.* and .*train-labels.* as many rows"):
        load_dataset(mnist)


def test_idx_parts_of_different_width_are_refused(mnist, images):
    (mnist / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(images[30:, :2]))
    with pytest.raises(ValueError, match=r"differ in rows alone, got shapes .*2\) and \(10, 2, 2\)"):
        load_dataset(mnist)


# --- .npz ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("x_key", "y_key"), [("x", "y"), ("X", "y"), ("x_train", "y_train")])
def test_npz_is_split(tmp_path, images, labels, x_key, y_key):
    path = tmp_path / "data.npz"
    np.savez(path, **{x_key: images, y_key: labels})
    data = load_dataset(path)
    assert data.x_train.shape == (32, 6)
    assert data.x_test.shape == (8, 6)


@pytest.mark.parametrize("x", ["x", "X"])
def test_npz_gives_its_own_test_set(tmp_path, images, labels, x):
    path = tmp_path / "data.npz"
    arrays = {f"{x}_train": images[:30], f"{x}_test": images[30:]}
    np.savez_compressed(path, **arrays, y_train=labels[:30], y_test=labels[30:])
    data = load_dataset(path)
    np.testing.assert_array_equal(data.x_test, images[30:].reshape(10, 6))
    np.testing.assert_array_equal(data.y_test, labels[30:])


def test_float_targets_make_a_regression(tmp_path):
    path = tmp_path / "data.npz"
    y = np.linspace(0, 1, 20)
    np.savez(path, x=np.ones((20, 2)), y=np.stack([y, -y], axis=1))
    data = load_dataset(path)
    assert (data.task, data.classes) == ("regression", ())
    assert data.y_train.shape == (16, 2)
    assert data.y_train.dtype == np.float32
    assert data.y_train.flags.c_contiguous


@pytest.mark.parametrize(
    ("y", "classes", "first"),
    [
        (np.array(["cat", "dog"] * 10), ("cat", "dog"), 0),
        (np.array([b"dog", b"cat"] * 10), ("cat", "dog"), 1),
        (np.array([True, False] * 10), ("False", "True"), 1),
        (np.array([[10], [-2]] * 10), ("-2", "10"), 1),
    ],
)
def test_other_targets_make_a_classification(tmp_path, y, classes, first):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((20, 2)), y=y)
    data = load_dataset(path, test_fraction=0)
    assert data.classes == classes
    np.testing.assert_array_equal(data.y_train, [first, 1 - first] * 10)
    assert data.y_train.dtype == np.int64


def test_task_overrides_the_type_of_the_target(tmp_path):
    path = tmp_path / "data.npz"
    prices = np.arange(20) * 1000
    np.savez(path, x=np.ones((20, 2)), y=prices)
    with pytest.raises(ValueError, match=r"data\.npz: .*every label is there once.*regression"):
        load_dataset(path)
    data = load_dataset(path, task="regression", test_fraction=0)
    np.testing.assert_array_equal(data.y_train, prices[:, None])

    np.savez(path, x=np.ones((20, 2)), y=np.array([0.0, 1.0] * 10))
    assert load_dataset(path, task="classification").classes == ("0", "1")
    np.savez(path, x=np.ones((20, 2)), y=np.array([0.5, 1.0] * 10))
    with pytest.raises(ValueError, match=r"class labels, got 0\.5: a quantity is"):
        load_dataset(path, task="classification")
    with pytest.raises(ValueError, match=r"task should be .* got 'ranking'"):
        load_dataset(path, task="ranking")


def test_classes_of_a_model_fix_the_encoding(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((4, 2)), y=np.array(["b", "b", "d", "d"]))
    data = load_dataset(path, classes=("d", "c", "b"), test_fraction=1)
    np.testing.assert_array_equal(data.y_test, [2, 2, 0, 0])
    assert data.classes == ("d", "c", "b")
    with pytest.raises(ValueError, match="hold the classes b, c, got 'd'"):
        load_dataset(path, classes=("b", "c"), test_fraction=1)


class Bomb:
    """Unpickling it would fail the test."""

    def __reduce__(self):
        return pytest.fail, ("a data file was unpickled",)


@pytest.mark.parametrize("key", ["x", "y"])
def test_npz_with_pickled_objects_is_refused(tmp_path, key):
    path = tmp_path / "data.npz"
    arrays = {"x": np.ones((2, 2)), "y": np.arange(2)}
    np.savez(path, **(arrays | {key: np.array([[Bomb()]] * 2, dtype=object)}))
    with pytest.raises(ValueError, match=rf"data\.npz: array '{key}' cannot be read: Object"):
        load_dataset(path)


def test_npz_arrays_that_are_not_asked_for_are_not_read(tmp_path):
    path = tmp_path / "data.npz"
    names = np.array(["a", None], dtype=object)
    np.savez(path, x=np.ones((20, 2)), y=np.arange(20) % 2, names=names)
    assert load_dataset(path).x_train.shape == (16, 2)


@pytest.mark.parametrize("cut", [10, 200, -5])
def test_truncated_npz_is_named(tmp_path, cut):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((20, 2)), y=np.arange(20))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"data\.npz is damaged or not an \.npz file"):
        load_dataset(path)


def test_npz_whose_bytes_were_changed_is_named(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((20, 2)), y=np.arange(20) % 2)
    content = bytearray(path.read_bytes())
    content[250] ^= 1  # inside the values of x: the archive's checksum tells
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.npz: array 'x' cannot be read"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.ones((2, 2))}, "an array x_train or X_train or x or X, got a"),
        ({"x": np.ones((2, 2))}, "an array y, got x"),
        ({"x_train": np.ones((2, 2)), "y_train": [0, 1], "x_test": [[1]]}, "y_test, got x_train"),
        ({"x": np.ones((3, 2)), "y": [0, 1]}, r"as many rows, got shapes \(3, 2\) and \(2,\)"),
        ({"x": np.ones(3), "y": [0, 1, 0]}, r"data.npz: x should have shape \(rows, features\)"),
        ({"x": np.ones((0, 2)), "y": []}, r"rows and features, got shape \(0, 2\)"),
        ({"x": [["a"], ["b"]], "y": [0, 1]}, "data.npz: x should hold numbers, got dtype <U1"),
        ({"x": [[1, 2], [3, np.nan]], "y": [0, 1]}, "got nan at row 1, feature 1"),
        ({"x": [[1, 1e39]], "y": [0]}, r"finite float32 numbers, got 1e\+39 at row 0, feature 1"),
        ({"x": [[1], [2]], "y": [0.5, np.inf]}, "target should hold finite float32 numbers"),
        ({"x": [[1], [2]], "y": [[0, 1], [1, 0]]}, r"class labels \(rows,\), got shape \(2, 2\)"),
        ({"x": [[1], [2]], "y": [1j, 2j]}, "class labels, got dtype complex128"),
    ],
)
def test_npz_with_wrong_arrays_is_refused(tmp_path, arrays, message):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        load_dataset(path)


# --- tables -------------------------------------------------------------------------------------

FLOWERS = "width,length,kind\n" + "1.5,2,rose\n0.5,4,aster\n" * 5


@pytest.fixture
def arrow(library):
    return library("pyarrow")


def test_csv_with_text_target_is_a_classification(arrow, write_csv):
    data = load_dataset(write_csv(FLOWERS), target="kind", test_fraction=0)
    assert data.task == "classification"
    assert data.classes == ("aster", "rose")
    assert data.feature_names == ("width", "length")
    np.testing.assert_array_equal(data.x_train[:2], [[1.5, 2], [0.5, 4]])
    np.testing.assert_array_equal(data.y_train[:2], [1, 0])
    assert data.x_train.flags.c_contiguous


def test_csv_with_float_target_is_a_regression(arrow, write_csv):
    path = write_csv("a,b,y\n1,true,0.5\n2,false,1\n3,true,2\n4,true,4\n5,true,7\n")
    data = load_dataset(path, target="y")
    assert data.task == "regression"
    assert data.y_train.shape == (4, 1)
    assert data.y_test.shape == (1, 1)


def test_type_of_a_csv_column_follows_from_all_its_rows(arrow, write_csv):
    rows = 200_000  # well beyond pyarrow's first block
    path = write_csv("a,y\n" + "1,2\n" * rows + "0.5,2.5\n")
    data = load_dataset(path, target="y", test_fraction=0)
    assert data.task == "regression"
    assert data.x_train[-1] == 0.5


def test_parquet_reads_like_csv(arrow, tmp_path, write_csv):
    from pyarrow import csv, parquet

    source = write_csv(FLOWERS)
    table = csv.read_csv(source)
    kind = table.column("kind").dictionary_encode()  # as pandas writes categories
    path = tmp_path / "data.parquet"
    parquet.write_table(table.set_column(2, "kind", kind), path)
    ours, theirs = (load_dataset(p, target="kind") for p in (path, source))
    np.testing.assert_array_equal(ours.x_train, theirs.x_train)
    np.testing.assert_array_equal(ours.y_test, theirs.y_test)
    assert ours.classes == theirs.classes


def test_decimals_and_missing_values_of_parquet(arrow, tmp_path):
    from decimal import Decimal

    from pyarrow import parquet

    path = tmp_path / "data.parquet"
    columns = {"price": [Decimal("1.25"), Decimal("2.50")], "n": [1, None], "y": [0, 1]}
    parquet.write_table(arrow.table(columns), path)
    np.testing.assert_array_equal(load_features(path, feature_names=["price"]), [[1.25], [2.5]])
    with pytest.raises(ValueError, match=r"data\.parquet: column 'n' has no value in row 2"):
        load_features(path)


def test_label_na_is_a_label(arrow, write_csv):
    data = load_dataset(write_csv("a,y\n1,NA\n2,SA\n3,NA\n4,SA\n"), target="y", test_fraction=0)
    assert data.classes == ("NA", "SA")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (FLOWERS, {}, "needs target, the column to predict; it has width, length, kind"),
        (
            FLOWERS,
            {"target": "colour"},
            "has no column 'colour'; its columns are 'width', 'length'",
        ),
        (
            FLOWERS,
            {"target": "width"},
            "column 'kind' should hold numbers, got text such as 'rose'",
        ),
        ("a,y\n1,2\n?,3\n", {"target": "y"}, r"column 'a' should hold .* such as '\?'"),
        ("a,y\n1,2\n,3\n", {"target": "y"}, "column 'a' has no value in row 2"),
        ("a,y\n1.5,2\nnan,3\n", {"target": "y"}, "column 'a' has no value .*in row 2"),
        ("a,y\n1,u\n2,\n", {"target": "y"}, "column 'y' has no value in row 2"),
        ("a,y\n1,0.5\n2,\n", {"target": "y"}, "column 'y' has no value in row 2"),
        (
            "a,y\n1e39,1\n1,2\n",
            {"target": "y"},
            r"column 'a' should hold finite .*got 1e\+39 in row 1",
        ),
        ("a,y\n2026-01-01,1\n", {"target": "y"}, "column 'a' should hold numbers, got text such as '2026-01-01'"),
        ("a,a,y\n1,2,3\n", {"target": "y"}, "has several columns named 'a'"),
        ("a,y\n", {"target": "y"}, "holds no rows"),
        ("", {"target": "y"}, "is no .csv file: it is empty"),
        ("a,y\n1,2,3\n", {"target": "y"}, "line 2 should have 2 fields, got 3"),
        ("y\n1\n2\n", {"target": "y"}, "has no column besides the target 'y'"),
        (
            "a,y\n1,x\n2,x\n",
            {"target": "y", "task": "regression"},
            "column 'y' should hold numbers",
        ),
    ],
)
def test_csv_is_refused_by_name_of_file_and_column(arrow, write_csv, text, options, message):
    with pytest.raises(ValueError, match=rf"data\.csv:? {message}"):
        load_dataset(write_csv(text), **options)


def test_damaged_parquet_is_named(arrow, tmp_path):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1\0and so on")
    with pytest.raises(ValueError, match=r"data\.parquet cannot be read as parquet"):
        load_dataset(path, target="y")


def test_missing_pyarrow_names_the_extra(write_csv, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"data\.csv needs pyarrow: pip install 'fastbp\[data\]'"):
        load_dataset(write_csv(FLOWERS), target="kind")


# --- features alone, and other sources ----------------------------------------------------------


def test_features_of_a_table_come_in_the_order_of_the_model(arrow, write_csv):
    path = write_csv(FLOWERS)
    x = load_features(path, feature_names=("length", "width"))
    np.testing.assert_array_equal(x[0], [2, 1.5])
    np.testing.assert_array_equal(
        load_dataset(path, target="kind", test_fraction=0, feature_names=("length", "width")).x_train,
        x,
    )
    with pytest.raises(ValueError, match="has no column 'depth'"):
        load_features(path, feature_names=("width", "depth"))


def test_features_come_from_arrays_and_idx_files(tmp_path, mnist, images):
    expected = images.reshape(40, 6)
    np.save(tmp_path / "x.npy", images)
    np.savez(tmp_path / "x.npz", x=images)
    np.testing.assert_array_equal(load_features(tmp_path / "x.npy"), expected)
    np.testing.assert_array_equal(load_features(tmp_path / "x.npz"), expected)
    np.testing.assert_array_equal(load_features(mnist), expected[30:])
    np.testing.assert_array_equal(load_features(mnist / "train-images-idx3-ubyte"), expected[:30])


def test_feature_files_that_are_refused(tmp_path, mnist):
    np.save(tmp_path / "x.npy", np.array([[Bomb()]], dtype=object))
    with pytest.raises(ValueError, match=r"x\.npy cannot be read as an \.npy file: Object"):
        load_features(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"labels-idx1-ubyte should have shape \(rows, features\)"):
        load_features(mnist / "t10k-labels-idx1-ubyte")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with pytest.raises(ValueError, match=r"x\.png is of no known kind: .* it is a PNG image"):
        load_features(tmp_path / "x.png")


@pytest.mark.parametrize("load", [load_dataset, load_features])
@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv", "nowhere.npz"])
def test_missing_source_is_named(load, name):
    with pytest.raises(FileNotFoundError, match=f"no file or folder '{name}'"):
        load(name)


def test_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with pytest.raises(ValueError, match=r"x\.png is of no known kind: expected 'digits'"):
        load_dataset(path)


def test_target_is_for_tables():
    with pytest.raises(ValueError, match=r"target names columns .* digits is none: got 'y'"):
        load_dataset("digits", target="y")


def test_images_may_stay_bytes(mnist, images, tmp_path):
    data = load_dataset(mnist, keep_bytes=True)
    assert (data.x_train.dtype, data.x_test.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(data.x_train, images[:30].reshape(30, 6))
    assert data.x_train.flags.c_contiguous
    np.testing.assert_array_equal(load_features(mnist, keep_bytes=True), images[30:].reshape(10, 6))
    np.savez(tmp_path / "x.npz", x=images.astype(np.int16), y=np.arange(40) % 2)
    assert load_dataset(tmp_path / "x.npz", keep_bytes=True).x_train.dtype == np.float32  # these are no bytes


# --- names of IDX files, and test rows of another source ------------------------------------------


@pytest.mark.parametrize("name", ["emnist-letters-{}-{}-idx{}-ubyte", "{}-{}-idx{}-ubyte"])
@pytest.mark.parametrize("inside", ["", "raw", "MNIST/raw"])
def test_idx_files_are_found_under_other_names_and_in_the_folder_of_torchvision(tmp_path, images, labels, name, inside):
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", slice(30)), ("test", slice(30, None))):
        (folder / name.format(part, "images", 3)).write_bytes(idx_bytes(images[rows]))
        (folder / name.format(part, "labels", 1)).write_bytes(idx_bytes(labels[rows]))
    np.testing.assert_array_equal(load_dataset(tmp_path).x_test, images[30:].reshape(10, 6))
    np.testing.assert_array_equal(load_features(tmp_path), images[30:].reshape(10, 6))


def test_of_several_idx_sets_in_a_folder_a_pattern_chooses_one(mnist, images):
    for path in list(mnist.iterdir()):
        (mnist / f"emnist-letters-{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"holds several data sets, .* name the files of one by a pattern"):
        load_dataset(mnist)
    assert len(load_dataset(f"{mnist}/emnist-letters-*").x_train) == 30


def test_all_rows_of_another_source_are_the_test_rows(arrow, write_csv):
    train, test = write_csv(FLOWERS), write_csv("kind;length;width\naster;1.5;2\n", "test.csv")
    data = load_dataset(train, target="kind", test=test, reading=ReadOptions(header=True))
    assert (len(data.x_train), data.y_test.tolist()) == (10, [0])
    np.testing.assert_array_equal(data.x_test, [[2, 1.5]])


def test_a_model_reads_by_what_its_training_found(arrow, write_csv):
    found = load_dataset(write_csv("a;b;y\n" + "1,5;2;u\n2,5;3;v\n" * 3), target="y", test_fraction=0).reading
    assert (found.decimal, found.header) == (",", True)
    new = write_csv("a;b\n1,234;5\n999;6\n", "new.csv")  # thousands, if nothing else were known
    np.testing.assert_allclose(load_features(new, assumed=found)[:, 0], [1.234, 999])


def test_data_frames_are_data_sets(arrow):
    data = load_dataset(arrow.table({"a": [1.0, 2.0], "y": ["u", "v"]}), target="y", test_fraction=0)
    assert (data.classes, data.feature_names, data.read_as) == (("u", "v"), ("a",), "")
