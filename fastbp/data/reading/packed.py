"""Files that are packed: gzip, bzip2, xz, zstd, and zip archives of one file."""

import bz2
import gzip
import io
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from fastbp._base.kinds import BZIP2, GZIP, XZ, ZIP, ZSTD, kind_of_bytes
from fastbp.data.reading.table import TableError, Trouble
from fastbp.kernels.compile.forks import imports

PIECE = 1 << 20
MOST_MEMORY = 1 << 28  # that unpacking xz may take; its strongest packing asks for a quarter
ENDINGS = (".gz", ".bz2", ".xz", ".zip", ".zst", ".zstd")


def unpacked(content: bytes, name: str) -> tuple[bytes, str]:
    """Return the content of a file that may be packed, whatever its name ends in, and by what: "gzip", "" for nothing.

    Raises
    ------
    TableError
        If it is damaged, or a zip archive of several files.
    """
    unpack = _UNPACK.get(kind_of_bytes(content))
    if unpack is None:
        return content, ""
    with _errors(kind_of_bytes(content), name):
        return unpack(content), unpack.__name__.removeprefix("_")


def unpack_to(copy: BinaryIO, path: str) -> str:
    """Write the content of a file that is packed into another one, piece by piece; return by what it is packed.

    ``""`` if it is not packed: then nothing is written. Errors are those of `unpacked`.
    """
    with open(path, "rb") as file:
        kind = kind_of_bytes(file.read(PIECE))
        open_packed = _OPEN.get(kind)
        if open_packed is None:
            return ""
        file.seek(0)
        with _errors(kind, path), open_packed(file) as content:
            shutil.copyfileobj(content, copy, PIECE)
    copy.flush()
    return _UNPACK[kind].__name__.removeprefix("_")


@contextmanager
def _errors(kind: str, name: str) -> Iterator[None]:
    """Surround what unpacks a file: what it raises is an error of the table."""
    try:
        yield
    except _NoTable as error:
        raise TableError(name, [Trouble("", f"is {kind}{error}")]) from None
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        if getattr(error, "errno", None) is not None:  # of the system, such as a full disk
            raise
        raise TableError(name, [Trouble("", f"is {kind} that is damaged: {error}")]) from error


class _NoTable(Exception):
    """An archive that is whole and holds no table."""


def _gzip(content: bytes) -> bytes:
    return gzip.decompress(content)


def _bzip2(content: bytes) -> bytes:
    return bz2.decompress(content)


def _xz(content: bytes) -> bytes:
    return lzma.decompress(content, memlimit=MOST_MEMORY)


def _zstd(content: bytes) -> bytes:
    with imports:
        import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        whole: bytes = stream.read()
    return whole


def _zip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(_member(archive))


@contextmanager
def _open_zip(file: BinaryIO) -> Iterator[Any]:
    with zipfile.ZipFile(file) as archive, archive.open(_member(archive)) as content:
        yield content


@contextmanager
def _open_zstd(file: BinaryIO) -> Iterator[Any]:
    with imports:
        import pyarrow as pa

    with pa.CompressedInputStream(pa.PythonFile(file), "zstd") as stream:
        yield stream


def _member(archive: zipfile.ZipFile) -> str:
    """Return the one file of an archive."""
    members = [
        member.filename
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.startswith(("__MACOSX/", "."))
    ]
    if any(member.startswith("xl/") for member in members):
        raise _NoTable(": an Excel workbook; save its sheet as .csv")
    if len(members) != 1:
        shown = ", ".join(members[:6]) + ", …" * (len(members) > 6)
        raise _NoTable(f" that holds {len(members)} files ({shown}), and a table is one: unpack it")
    return members[0]


_OPEN: dict[str, Callable[[BinaryIO], Any]] = {
    GZIP: gzip.open, BZIP2: bz2.open, XZ: lzma.open, ZSTD: _open_zstd, ZIP: _open_zip
}  # fmt: skip
_UNPACK: dict[str, Callable[[bytes], Any]] = {GZIP: _gzip, BZIP2: _bzip2, XZ: _xz, ZSTD: _zstd, ZIP: _zip}
