"""Writing files so that nothing is ever half there, and nothing but a file is replaced."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import IO

from fastbp.kernels.compile.system import give_owner_and_mode


def write_atomically(path: str | os.PathLike[str], *parts: bytes | memoryview) -> None:
    """Write beside the target, flush to the disk, then rename: the old file or the new one, never a mixture.

    The target is what symbolic links lead to; they stay. The new file has the permissions of the old one, and its owner
    where that is allowed; another hard link to the old file keeps the old content. What is no file and yet takes bytes
    (a character device, a FIFO) is written to.

    Raises
    ------
    OSError
        By the name that was given, whatever failed; the old file is as it was.
    """
    target, old = _behind_links(path)
    with _errors_name(path):
        if _is_stream(target, old):
            with open(path, "wb") as stream:
                stream.writelines(parts)
            return
        with _beside(target, old) as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, target)
        _sync_folder(target.parent)


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise the OSError that writing this file would."""
    target, old = _behind_links(path)
    if not _is_stream(target, old):
        # An empty file that is gone at once: a folder such as /proc takes none, whatever its permissions say.
        with _errors_name(path), _beside(target, old):
            pass


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file that was written, if it is there: what links lead to, and nothing that is no file."""
    target, old = _behind_links(path)
    if old is not None and not _is_stream(target, old):
        with _errors_name(path):
            target.unlink()


def rename(path: str | os.PathLike[str], new: str | os.PathLike[str]) -> None:
    """Give a file that was written another name; links stay, and what they lead to is moved."""
    (source, _), (target, _) = _behind_links(path), _behind_links(new)
    with _errors_name(new):
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:  # a link leads to another file system
                raise
            write_atomically(new, source.read_bytes())
            source.unlink()


@contextlib.contextmanager
def _errors_name(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give errors of the system the name that a user knows."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _behind_links(path: str | os.PathLike[str]) -> tuple[Path, os.stat_result | None]:
    """Return where a path leads, and what is there; raise OSError where nothing can be written."""
    target, name = Path(os.path.realpath(path)), os.fspath(path)
    try:
        old = os.stat(path)
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "No such folder", str(target.parent)) from None
        return target, None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if stat.S_ISBLK(old.st_mode) or stat.S_ISSOCK(old.st_mode):
        raise OSError(errno.EINVAL, "Is a disk or a socket, and no file", name)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    return target, old


def _is_stream(target: Path, old: os.stat_result | None) -> bool:
    """Tell what is written to from what is replaced. An open file that has no name any more (/dev/fd/3) is a stream."""
    return old is not None and not (stat.S_ISREG(old.st_mode) and target.exists())


@contextlib.contextmanager
def _beside(target: Path, old: os.stat_result | None) -> Iterator[IO[bytes]]:
    """Yield a new file in the target's folder; it is gone at the end, unless it was renamed."""
    name = target.with_name(f".fastbp-{token_hex(8)}")  # short: the target's may be as long as a name can be
    mode = 0o666 if old is None else old.st_mode & 0o777
    try:
        # The system applies the umask, so the file is at no moment readable for more users than it should be.
        with open(name, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if old is not None:
                give_owner_and_mode(file.fileno(), old)
            yield file
    finally:
        name.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # not every system opens folders
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
