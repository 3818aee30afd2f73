"""Which target writes a file: the one that is named, else the one that the suffix of the path belongs to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fxcompress.contract import Target
from fxcompress.errors import UsageError
from fxcompress.pipeline.spec import parse_target
from fxcompress.plugins import Plugins
from fxcompress.text import nearest


def target_for(path: Path, target: str | Target | None, plugins: Plugins) -> Target:
    """Return the target that is to write `path`.

    Args:
        path: whose suffix decides where `target` is None.
        target: a name with options, as `onnx` or `onnx{opset=21}`; a target.

    Raises:
        UsageError: there is no such target, it has no such option, or no target writes files of that suffix.
    """
    if isinstance(target, Target):
        return target
    if target is not None:
        return parse_target(target, plugins)
    suffix, known = path.suffix.lower(), plugins.suffixes.entries
    if suffix in known:
        made: Target = plugins.suffixes.get(suffix)()
        return made
    wrong = f"no target writes files {suffix!r}" if suffix else "a file needs a suffix, which chooses the target"
    near = nearest(suffix, known)
    hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(known))}"
    raise UsageError(f"{path.name}: {wrong}", hint=f"{hint} A target can also be named, whatever the suffix")


def coded_by(target: Target, coding: str | None) -> Target:
    """Return `target` with its option `coding` set; as it is where `coding` is None.

    Raises:
        UsageError: the target has no such option, or it does not take this value.
    """
    if coding is None:
        return target
    if "coding" not in {field.name for field in dataclasses.fields(target)}:
        raise UsageError(f"the target {target.name!r} has no coding", hint="save an artifact: a path ending in .fxc")
    return dataclasses.replace(target, coding=coding)  # type: ignore[call-arg]  # it was looked up just before
