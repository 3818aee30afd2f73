"""Which target writes a file: the one that is named, else the one that the suffix of the path belongs to."""

from __future__ import annotations

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
