"""A folder that one process at a time writes into."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fxcompress.errors import UsageError

LOCK = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make `folder` where it is missing, and keep other processes from entering it here; a killed one leaves it open.

    Raises:
        UsageError: another process is in it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LOCK, "wb") as file:
            if not _lock(file.fileno()):
                raise UsageError(f"another process writes into {folder}", hint="wait for it, or name another folder")
            yield
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror or error}", hint="name another") from error


def _lock(handle: int) -> bool:
    """Lock an open file until it is closed; return whether nobody else has. Windows has no such locks."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
