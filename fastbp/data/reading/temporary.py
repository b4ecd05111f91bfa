"""Temporary files, for what may be larger than memory."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def temporary_file() -> Iterator[Any]:
    """Open a file without a name: in TMPDIR if that is set, else where large files may be.

    It goes with the process, however that ends. What the system says of the folder is an OSError that names it.
    """
    folder = os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed below
    except OSError as error:
        raise _of_folder(error, folder) from error
    try:
        with file:
            yield file
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:  # that of another file
            raise
        raise _of_folder(error, folder) from error


def _of_folder(error: OSError, folder: str) -> OSError:
    return OSError(error.errno, f"{error.strerror} (TMPDIR names the folder of temporary files)", folder)
