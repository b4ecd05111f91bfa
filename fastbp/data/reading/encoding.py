"""Text in any usual encoding as UTF-8."""

import codecs
import mmap
import re
from collections.abc import Iterator

from fastbp.data.reading.table import TableError, Trouble

PIECE = 1 << 20
Content = bytes | mmap.mmap
# Marks at the beginning of a file, the longer ones first
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LETTERS_OF_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")
_LINE_END = re.compile(rb"\r\n?|\n")
_NONE_OF_CP1252 = b"\x81\x8d\x8f\x90\x9d"
_HIGH = bytes(range(0x80, 0x100))
_ASCII_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Control characters that no text has; NUL, of which some programs leave one behind, is told by its line.
_CONTROL = bytes(set(range(0x20)) - set(b"\0\t\n\v\f\r\x1a\x1b"))


def as_utf8(content: bytes, encoding: str | None, name: str) -> tuple[bytes, str]:
    """Return the bytes of a text in UTF-8, without a mark, and the name of the encoding it was in.

    Without a mark and without `encoding` it is UTF-16 if every other byte is 0, UTF-8 if all of it can be, and else
    cp1252, which is Latin-1 and some more letters.

    Raises
    ------
    TableError
        If it cannot be, or nothing tells.
    """
    found, start = _checked(content, encoding, name)
    if codecs.lookup(found).name != "utf-8":
        return b"".join(_transcoded(content, start, found, name)), _shown(found)
    return content[start:], _shown(found)


def utf8_pieces(content: Content, encoding: str | None, name: str) -> tuple[Iterator[bytes], str]:
    """Return the same a piece at a time; what cannot be decoded is an error when its piece comes."""
    found, start = _checked(content, encoding, name)
    if codecs.lookup(found).name != "utf-8":
        return _transcoded(content, start, found, name), _shown(found)
    return (content[i : i + PIECE] for i in range(start, len(content), PIECE)), _shown(found)


def _checked(content: Content, encoding: str | None, name: str) -> tuple[str, int]:
    """Return the encoding, the one that is given or found, and where the text begins; an error if it is no UTF-8."""
    found, start = (encoding, 0) if encoding else _found(content, name)
    if codecs.lookup(found).name == "utf-8":
        if encoding is not None and (bad := _first_bad(content)) is not None:
            raise TableError(name, [Trouble(_line(content, bad), f"is not {_shown(found)}", "--encoding cp1252")])
        start = len(codecs.BOM_UTF8) * (content[:3] == codecs.BOM_UTF8)
    return found, start


def check_characters(content: bytes, name: str, also: str, above: int = 0) -> None:
    """Raise TableError for text that holds what no text does; `also` are control characters that are meant.

    `above` is how many lines of the file come before.
    """
    if control := set(_CONTROL) & set(content[:PIECE]) - set(also.encode()):
        raise TableError(name, [Trouble("", f"is binary data of no known kind: it holds bytes {min(control):#04x}")])
    if b"\0" in content:
        lines = dict.fromkeys(_line(content, found.start(), above) for found in re.finditer(rb"\0", content))
        raise TableError(name, [Trouble(line, "holds a NUL byte, which no text does") for line in lines])


def _found(content: Content, name: str) -> tuple[str, int]:
    """Find the encoding; return its name and the size of the mark at the beginning."""
    begin = 0
    for mark, encoding in _MARKS:
        if content[: len(mark)] == mark:
            begin = len(mark)
            if encoding == "utf-8":
                break
            return encoding, begin
    start = content[begin : begin + PIECE]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) > 0.4 * len(start) / 2 and min(even, odd) < 0.1 * max(even, odd):
        return ("utf-16-le" if odd > even else "utf-16-be"), begin
    bad = _first_bad(content)
    if bad is None:
        return "utf-8", begin
    if _LETTERS_OF_UTF8.search(content):
        raise TableError(name, [Trouble(_line(content, bad), "is not UTF-8, as other lines are", "--encoding cp1252")])
    known = high = 0
    none = False
    for i in range(begin, len(content), PIECE):
        letters = content[i : i + PIECE].translate(None, bytes(set(range(256)) - set(_HIGH + _ASCII_LETTERS)))
        known, high = known + len(letters), high + len(letters) - len(letters.translate(None, _HIGH))
        none = none or any(byte in letters for byte in _NONE_OF_CP1252)
    if none or 2 * high > known:
        raise TableError(name, [Trouble(_line(content, bad), "is in no encoding that can be told", "--encoding NAME")])
    return "cp1252", begin


def _first_bad(content: Content) -> int | None:
    """Return where a text is no UTF-8; None where all of it is."""
    decoder, done = codecs.getincrementaldecoder("utf-8")(), 0
    for start in range(0, len(content), PIECE):
        kept = len(decoder.getstate()[0])
        if not kept and content[start : start + PIECE].isascii():
            continue
        done = start
        try:
            decoder.decode(content[start : start + PIECE], start + PIECE >= len(content))
        except UnicodeDecodeError as error:
            return done - kept + error.start
        done = start + PIECE
    return None


def _transcoded(content: Content, begin: int, encoding: str, name: str) -> Iterator[bytes]:
    decoder, mark = codecs.getincrementaldecoder(encoding)(), codecs.BOM_UTF8
    try:
        for start in range(begin, max(len(content), begin + 1), PIECE):
            text = decoder.decode(content[start : start + PIECE], start + PIECE >= len(content)).encode()
            yield text.removeprefix(mark) if start == begin else text
    except UnicodeError as error:
        where = f"byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise TableError(name, [Trouble(where, f"is not {_shown(encoding)}", "--encoding NAME")]) from None


def _line(content: Content, position: int, above: int = 0) -> str:
    return f"line {sum(1 for _ in _LINE_END.finditer(content, 0, position)) + 1 + above}"


def _shown(encoding: str) -> str:
    return encoding.removesuffix("-le").removesuffix("-be").upper() if encoding.startswith("utf") else encoding
