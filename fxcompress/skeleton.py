"""The skeleton of a plugin: a distribution with an entry point, a pass, and tests that pass."""

from __future__ import annotations

import keyword
import os
import re
import shutil
import tempfile
import unicodedata
from importlib.resources import files
from pathlib import Path
from string import Template

from fxcompress.errors import UsageError
from fxcompress.plugins import BUILTINS, Plugins

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PREFIX = "fxcompress-"
_EXAMPLE = "my-pass"


def write_skeleton(name: str, into: Path) -> Path:
    """Write the skeleton of a plugin with a pass, both called `name`, into a new folder; all of it or nothing.

    Args:
        name: in kebab case: `round-weights` gives the distribution `fxcompress-round-weights`.
        into: the folder that gets the new folder.

    Returns:
        the new folder.

    Raises:
        UsageError: the name is not legal or taken, `into` is no folder, or the new folder is there already.
    """
    check_name(name)
    folder = into / f"{_PREFIX}{name}"
    if not into.is_dir():
        raise UsageError(f"there is no folder {str(into)!r}", hint="make it first")
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{str(folder)!r} is there already", hint="choose another name, or remove it")
    try:
        _write_at_once(folder, contents(name))
    except OSError as error:
        raise UsageError(f"{str(folder)!r} cannot be written: {error.strerror or error}") from error
    return folder


def check_name(name: str) -> None:
    """Raise UsageError where a plugin and its pass cannot be called `name`, with the nearest name that serves."""
    if not _NAME.fullmatch(name) or name.startswith(_PREFIX) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} is no name for a plugin: small letters and digits, single dashes between words, no keyword",
            hint=f"did you mean {legal_name(name)!r}?",
        )
    built_in = Plugins(autoload=False)
    if name in {*BUILTINS, *built_in.passes.entries, *built_in.pipelines.entries}:
        raise UsageError(f"{name!r} is a built-in pass, pipeline or plugin", hint=f"choose another name: my-{name}")


def legal_name(name: str) -> str:
    """Return the legal name that is most like `name`: `RoundWeights_2` gives `round-weights-2`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", plain).lower()
    made = re.sub(r"[^a-z0-9]+", "-", words).strip("-").removeprefix(_PREFIX).lstrip("0123456789-")
    if not made:
        return _EXAMPLE
    return f"{made}-pass" if keyword.iskeyword(made) else made


def contents(name: str) -> dict[str, str]:
    """Return the text of every file of the skeleton by its path inside the folder."""
    module = name.replace("-", "_")
    words = {
        "name": name,
        "module": module,
        "package": f"fxcompress_{module}",
        "cls": "".join(word.capitalize() for word in name.split("-")),
    }
    templates = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"src/{words['package']}/__init__.py": "init.py.txt",
        f"src/{words['package']}/{module}.py": "pass.py.txt",
        f"tests/test_{module}.py": "test.py.txt",
    }
    source = files("fxcompress") / "skeleton_files"
    return {
        path: Template((source / template).read_text(encoding="utf-8")).substitute(words)
        for path, template in templates.items()
    }


def _write_at_once(folder: Path, texts: dict[str, str]) -> None:
    """Write the files into a folder beside `folder`, then rename it; what fails leaves nothing behind."""
    made = Path(tempfile.mkdtemp(prefix=".new-plugin-", dir=folder.parent))
    try:
        for path, text in texts.items():
            target = made / "new" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        os.rename(made / "new", folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
