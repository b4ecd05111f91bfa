"""Sparse matrices as users have them: every format, order and type means what its dense array does."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp._base.sparse import StoredRows, is_sparse, stored_rows

sp = pytest.importorskip("scipy.sparse")
FORMATS = ("csr", "csc", "coo", "bsr", "lil", "dok", "dia")
MODEL = {dtype: fastbp.mlp([9, 11, 3], "tanh", dtype=dtype, rng=0) for dtype in ("float32", "float64")}


def assert_same(found, expected):
    """Equal to the bit, but for the sign of zeros; NaN where there is one."""
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("family", ["matrix", "array"])
def test_every_format_predicts_as_its_dense_array(form, family):
    x = sp.random(20, 9, 0.3, random_state=0).toarray()
    rows = getattr(sp, f"{form}_{family}")(x)
    for model in MODEL.values():
        assert_same(model.predict(rows), model.predict(x))
        assert_same(model.predict(rows, batch_size=7), model.predict(x))


@settings(max_examples=60)
@given(
    st.integers(1, 12), st.integers(0, 40), st.sampled_from(["f4", "f8", "i4", "u1", "?", "i8"]),
    st.sampled_from(["i4", "i8"]), st.sampled_from(["float32", "float64"]), st.booleans(), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_unsorted_doubled_and_zero_entries_mean_what_the_dense_array_does(
    rows, stored, kind, index, dtype, special, seed
):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 4, stored).astype(kind)  # zeros too
    if special and data.dtype.kind == "f":
        data[rng.random(stored) < 0.2] = rng.choice([np.nan, np.inf, -np.inf])
    indptr = np.sort(np.append(rng.integers(0, stored + 1, rows - 1), [0, stored]))
    x = sp.csr_matrix((rows, 9), dtype=data.dtype)
    x.data, x.indices, x.indptr = data, rng.integers(0, 9, stored).astype(index), indptr.astype(index)
    before = [array.copy() for array in (x.data, x.indices, x.indptr)]
    model = MODEL[dtype]
    # not through (data, indices), which SciPy's own toarray adds up in the order in which they stand
    with np.errstate(all="ignore"):
        found = stored_rows(x, model.dtype, "test", "x")
        dense = np.zeros((rows, 9), model.dtype)
        for i in range(rows):
            part = slice(found.indptr[i], found.indptr[i + 1])
            assert (np.diff(found.indices[part]) > 0).all()
            dense[i, found.indices[part]] = found.data[part]
        assert_same(dense, x.toarray().astype(model.dtype))
        assert_same(model.predict(x), model.predict(found))
    for array, old in zip((x.data, x.indices, x.indptr), before, strict=True):
        assert array.tobytes() == old.tobytes()


def test_what_fits_is_not_copied():
    x = sp.random(20, 9, 0.3, format="csr", random_state=0)
    rows = stored_rows(x, np.dtype(np.float64), "test", "x")
    assert rows.data is x.data
    assert rows.indices is x.indices
    assert np.shares_memory(rows[3:7].data, x.data)
    x.data.flags.writeable = x.indices.flags.writeable = False
    assert_same(MODEL["float64"].predict(x), MODEL["float64"].predict(x.toarray()))


@pytest.mark.parametrize("which", [slice(2, 5), slice(5, 2), slice(None), [4, 4, 0], np.arange(6) > 2])
def test_some_rows_are_those_of_the_matrix(which):
    x = sp.random(6, 9, 0.3, format="csr", random_state=0)
    rows = stored_rows(x, np.dtype(np.float64), "test", "x")[which]
    shown = sp.csr_matrix((rows.data, rows.indices, rows.indptr - rows.indptr[0]), shape=rows.shape)
    if rows.indptr[0] > 0:
        shown.data, shown.indices = rows.data[rows.indptr[0] :], rows.indices[rows.indptr[0] :]
    assert_same(shown.toarray(), x.toarray()[which])


def spoil(change):
    x = sp.csr_matrix(np.arange(27.0).reshape(3, 9))
    change(x)
    return x


def cut(x):
    x.data = x.data[:5]


def fewer_rows(x):
    x.indptr = x.indptr[:-1]


def more_rows(x):
    x.indptr = np.append(x.indptr, x.indptr[-1])


def index_of_row(x):
    x.indices = x.indices.astype(np.int64)
    x.indices[4] = 2**32  # which is 0 in 32 bits


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (spoil(lambda x: x.indices.__setitem__(3, 9)), ValueError, "sound sparse matrix: indices must be < 9"),
        (spoil(lambda x: x.indices.__setitem__(3, -1)), ValueError, "sound sparse matrix: indices must be >= 0"),
        (spoil(lambda x: x.indptr.__setitem__(1, 20)), ValueError, "sound sparse matrix: indptr must be a non-decr"),
        (spoil(lambda x: x.indptr.__setitem__(3, 99)), ValueError, "sound sparse matrix: Last value of index pointer"),
        (spoil(cut), ValueError, "sound sparse matrix"),
        (spoil(fewer_rows), ValueError, "sound sparse matrix: index pointer size 3 should be 4"),
        (spoil(more_rows), ValueError, "sound sparse matrix: index pointer size 5 should be 4"),
        (spoil(index_of_row), ValueError, "sound sparse matrix: indices must be < 9"),
        (sp.csr_matrix((3, 8)), ValueError, r"shape \(batch, 9\), got \(3, 8\)"),
        (sp.csr_matrix((0, 9)), ValueError, r"at least one row, got \(0, 9\)"),
        (sp.csr_matrix((3, 9), dtype=complex), TypeError, "real numbers up to 64 bits, got dtype complex128"),
        (sp.csr_matrix((3, 9), dtype=np.longdouble), TypeError, "real numbers up to 64 bits, got dtype"),
    ],
    ids=[
        "past the last column", "negative", "rows that end before they begin", "more than stored", "cut", "fewer rows",
        "more rows", "wide index", "columns", "no rows", "complex", "long double",
    ],
)  # fmt: skip
def test_damaged_and_foreign_matrices_are_refused(x, error, message):
    trainer = fastbp.Trainer(fastbp.mlp([9, 3], dtype="float64", rng=0))
    for call in (trainer.model.predict, lambda x: trainer.step(x, [0, 1, 2]), trainer.forward):
        with pytest.raises(error, match=message):
            call(x)
    assert trainer.steps == 0


def test_layers_that_read_x_whole_refuse_a_sparse_one():
    x = sp.csr_matrix(np.eye(9))
    normed = fastbp.Sequential(fastbp.LayerNorm(9), fastbp.Dense(9, 3))
    dropped = fastbp.Sequential(fastbp.Dropout(0.5), fastbp.Dense(9, 3, rng=0))
    for call in (lambda: normed.predict(x), lambda: fastbp.Trainer(dropped).step(x, np.zeros(9, int))):
        with pytest.raises(TypeError, match="dense array, as it is read by other layers than Dense ones; call"):
            call()
    assert_same(dropped.predict(x), dropped.predict(np.eye(9)))  # which goes without Dropout
    for call in (normed[1].forward, fastbp.mlp([9, 3]).forward, lambda x: fastbp.mse_loss(x, x)):
        with pytest.raises(TypeError, match="dense array"):
            call(x)


def test_scipy_is_asked_only_where_it_is_imported(monkeypatch):
    x = sp.csr_matrix(np.eye(3))
    assert is_sparse(x)
    assert is_sparse(stored_rows(x, np.dtype(np.float32), "test", "x"))
    monkeypatch.delitem(sys.modules, "scipy.sparse")
    assert not is_sparse(x)
    assert not is_sparse([[1.0]])


def test_rows_that_are_not_finite_are_found():
    rows = StoredRows(np.array([1.0, np.nan, 2.0, np.inf]), np.arange(4, dtype=np.int32), np.array([0, 1, 2, 2, 4]), 4)
    assert rows.finite().tolist() == [True, False, True, False]
