"""Every error that fxcompress raises on purpose.

FxcompressError
├── UsageError                the call was wrong                         exit code 2
│   ├── PipelineError         a pipeline text, a pass or an option
│   ├── ModelError            a model that is not there or does not build
│   ├── InputError            inputs that do not fit the model
│   ├── PluginError           a plugin that does not load or register
│   ├── ArtifactError         a file that is damaged, hostile or not ours
│   └── WriteBackError        a model that cannot hold what was compressed
├── CaptureError              a model that cannot be captured            exit code 1
├── ProcessesFailed           processes of one run that are gone or differ   exit code 1
└── StepFailed                a step of a pipeline, named in full        exit code 1
    raised from
PassFailed                    a pass that finds a precondition unmet     exit code 1
└── VerificationFailed        a graph that is not what the pass promised
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch.fx import Node


class FxcompressError(Exception):
    """The root of all errors; its text says what is wrong, where, and what to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message if hint is None else f"{message}\n  hint: {hint}")


class UsageError(FxcompressError):
    """The call was wrong: nothing was started, nothing was changed."""

    exit_code = 2


class PipelineError(UsageError):
    """A pipeline text, a pass or an option of it that does not read."""


class ModelError(UsageError):
    """A model that is not where it was said to be, or whose factory fails."""


class InputError(UsageError):
    """Example inputs, or inputs of a call, that do not fit the model."""


class PluginError(UsageError):
    """A plugin that does not import, registers nothing, or registers a name twice."""


class ArtifactError(UsageError):
    """A file that is damaged, hostile, too new, or no artifact at all."""


class WriteBackError(UsageError):
    """A model of the user's that cannot be made into what the compressed graph is; it is as it was."""


class CaptureError(FxcompressError):
    """A model that `torch.export` does not take, with the place in the model and the way out."""


class ProcessesFailed(FxcompressError):
    """Processes that share one run: another one is gone, does not answer, or came to something else."""


class ExportError(FxcompressError):
    """A graph that the file format of a target cannot express, with the node and the way out."""


class PassFailed(FxcompressError):
    """Raised by a pass whose precondition is not met.

    Args:
        why: what is wrong, in the user's words.
        node: the node at fault, or its name.
        hint: the way out.
    """

    def __init__(self, why: str, node: Node | str | None = None, *, hint: str | None = None) -> None:
        self.why = why
        self.node = None if node is None else str(node)
        super().__init__(why if self.node is None else f"{why} (node %{self.node})", hint=hint)


class VerificationFailed(PassFailed):
    """A graph that does not hold after a pass: not well formed, other types, other results."""


class StepFailed(FxcompressError):
    """A step of a pipeline that failed. `__cause__` holds what was raised inside.

    Attributes:
        step: index of the step, from 0.
        pass_text: the pass as the pipeline spells it.
        plugin: the plugin that registered the pass, or None for a pass handed over as an object.
        node: name of the node at fault, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int,
        pass_text: str,
        plugin: str | None,
        node: str | None,
        hint: str | None = None,
    ) -> None:
        self.step = step
        self.pass_text = pass_text
        self.plugin = plugin
        self.node = node
        super().__init__(message, hint=hint)
