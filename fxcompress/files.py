"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from fxcompress.errors import UsageError


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8; see `write_whole`."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_whole(path: Path, write: Callable[[BinaryIO], object], error: type[UsageError] = UsageError) -> None:
    """Let `write` fill a new file beside `path`, bring it to the disk, then give it the name `path`.

    Until the last moment `path` is what it was. A file that stood there keeps its permissions.

    Raises:
        UsageError: `path` is a link or no file, or its folder does not take files; raised as an `error`.
    """
    mode = _replaceable(path, error)
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        try:
            with open(partial, "xb") as file:
                write(file)
                file.flush()
                if mode is not None:
                    os.chmod(partial, mode)
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as failed:
        raise error(
            f"cannot write {path}: {failed.strerror or failed}", hint="name a file in a folder that you may write to"
        ) from failed


def _replaceable(path: Path, error: type[UsageError]) -> int | None:
    """Return the permissions of the file that stands at `path`, None where there is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as failed:
        reason = getattr(failed, "strerror", None) or failed
        raise error(f"cannot write {path}: {reason}", hint="name a file in a folder that is there") from None
    if stat.S_ISLNK(found.st_mode):
        raise error(f"cannot write {path}: it is a symbolic link", hint="name the file that it leads to")
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise error(f"cannot write {path}: it is {kind}", hint="name a file")
    return stat.S_IMODE(found.st_mode)


def _sync_folder(folder: Path) -> None:
    # A rename is on the disk only when the folder is. Windows has no handles on folders, and needs none.
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
