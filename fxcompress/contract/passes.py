"""The base class of every pass, and what is demanded of a pass class before it is run."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch.fx import GraphModule

from fxcompress.contract.options import options_of, spell
from fxcompress.errors import PipelineError

if TYPE_CHECKING:
    from fxcompress.contract.context import PassContext

Fidelity = Literal["exact", "close", "lossy"]
FIDELITIES: tuple[Fidelity, ...] = ("exact", "close", "lossy")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A number that a pass counts, with its meaning."""

    help: str


def statistic(help: str) -> Any:  # noqa: A002
    """Declare a number that a pass counts with `context.record(name=...)`."""
    return Statistic(help)


@dataclasses.dataclass(frozen=True)
class Pass:
    """A step of a pipeline: a frozen dataclass whose fields are its options and whose docstring is its manual.

    Subclasses set `name` (kebab case) and `fidelity`: `exact` promises the same results up to float error, `close` the
    same within a small tolerance, `lossy` promises nothing but finite numbers. They declare options with `fxc.option`
    and statistics with `fxc.statistic`, keep no state between runs, and override `apply`.
    """

    name: ClassVar[str] = ""
    fidelity: ClassVar[Fidelity] = "lossy"

    def __post_init__(self) -> None:
        for option in options_of(type(self)):
            value = getattr(self, option.name)
            try:
                option.validate(value)
            except PipelineError as error:
                raise PipelineError(f"pass {self.name!r}: {error.message}", hint=error.hint) from None
            object.__setattr__(self, option.name, option.canonical(value))

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        """Edit `module` or make a new one, and return the module to go on with.

        Raises:
            PassFailed: a precondition is not met.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the text that makes this pass: its name and the options that differ from their defaults."""
        given = {o.name: getattr(self, o.name) for o in options_of(type(self))}
        spelled = [f"{o.name}={spell(given[o.name])}" for o in options_of(type(self)) if given[o.name] != o.default]
        return f"{self.name}{{{' '.join(spelled)}}}" if spelled else self.name


def statistics_of(cls: type[Pass]) -> dict[str, str]:
    """Return name and meaning of every statistic that a pass class declares, inherited ones too."""
    found = {}
    for base in reversed(cls.__mro__):
        found.update({name: value.help for name, value in vars(base).items() if isinstance(value, Statistic)})
    return found


def check_class(cls: Any) -> None:
    """Raise PipelineError where `cls` is not a pass class that keeps the contract, with what to mend."""
    if not (isinstance(cls, type) and issubclass(cls, Pass)):
        raise PipelineError(f"{cls!r} is no pass class", hint="derive it from fxc.Pass")
    where = f"{cls.__module__}.{cls.__qualname__}"
    if not _NAME.fullmatch(cls.name):
        raise PipelineError(f"pass class {where} has no name in kebab case", hint='set  name = "my-pass"')
    if cls.fidelity not in FIDELITIES:
        raise PipelineError(f"pass {cls.name!r} has fidelity {cls.fidelity!r}", hint=f"one of {', '.join(FIDELITIES)}")
    if "__dataclass_params__" not in vars(cls) or not vars(cls)["__dataclass_params__"].frozen:
        raise PipelineError(f"pass class {where} is no frozen dataclass", hint="decorate it: @dataclass(frozen=True)")
    if not (vars(cls).get("__doc__") or "").strip() or (cls.__doc__ or "").startswith(f"{cls.__name__}("):
        raise PipelineError(f"pass class {where} has no docstring", hint="its docstring is its manual page")
    if cls.apply is Pass.apply:
        raise PipelineError(f"pass class {where} has no apply method")
    options_of(cls)
