"""The base class of every target: what a compressed module is written as."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fxcompress.capturing import Inputs
from fxcompress.contract.configured import Configured, check_configured
from fxcompress.errors import PipelineError
from fxcompress.graph.module import CapturedModule

if TYPE_CHECKING:
    from fxcompress.pruning.removing.places import Plan

_SUFFIX = re.compile(r"\.[a-z0-9_]+")


@dataclasses.dataclass(frozen=True)
class Emitted:
    """A compressed module with what a target may want to know of it.

    Attributes:
        module: the graph in evaluation mode; a target does not change it.
        inputs: example inputs.
        pipeline: the text of the pipeline that made it.
        plan: which positions of the captured model's tensors stay.
        allow: operators of other libraries that the caller allows a file to call.
        progress: is given a line of text when a part of the writing starts that may take long.
    """

    module: CapturedModule
    inputs: Inputs
    pipeline: str = ""
    plan: Plan = dataclasses.field(default_factory=dict)
    allow: tuple[str, ...] = ()
    progress: Callable[[str], None] | None = None


@dataclasses.dataclass(frozen=True)
class Target(Configured):
    """A kind of file to write: a frozen dataclass whose fields are its options and whose docstring is its manual.

    Subclasses set `name` (kebab case) and `suffixes` (`(".onnx",)`), by which a path chooses the target; they declare
    options with `fxc.option`, and override `save`.
    """

    kind: ClassVar[str] = "target"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def save(self, emitted: Emitted, path: Path) -> None:
        """Write `emitted` to `path`: all of it or nothing.

        Raises:
            UsageError: the place cannot be written, or a package that the target needs is not installed.
            ExportError: the target cannot express the graph.
        """
        raise NotImplementedError


def check_target(cls: Any) -> None:
    """Raise PipelineError where `cls` is not a target class that keeps the contract, with what to mend."""
    check_configured(cls, Target)
    where = f"{cls.__module__}.{cls.__qualname__}"
    if not isinstance(cls.suffixes, tuple) or not all(_SUFFIX.fullmatch(suffix) for suffix in cls.suffixes):
        raise PipelineError(f"target class {where} has suffixes {cls.suffixes!r}", hint='set  suffixes = (".mine",)')
    if cls.save is Target.save:
        raise PipelineError(f"target class {where} has no save method")
