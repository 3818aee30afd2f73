"""Writing text files: all of it or nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fxcompress.errors import UsageError


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` through a file beside it, so that no half-written file is left.

    Raises:
        UsageError: the folder is not there, or cannot be written to.
    """
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except OSError as error:
        Path(partial).unlink(missing_ok=True)
        raise UsageError(f"{str(path)!r} cannot be written: {error.strerror}") from error
