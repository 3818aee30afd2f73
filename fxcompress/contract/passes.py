"""The base class of every pass, and what is demanded of a pass class before it is run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch.fx import GraphModule

from fxcompress.contract.configured import Configured, check_configured
from fxcompress.errors import PipelineError

if TYPE_CHECKING:
    from fxcompress.contract.context import PassContext

Fidelity = Literal["exact", "close", "lossy"]
FIDELITIES: tuple[Fidelity, ...] = ("exact", "close", "lossy")


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A number that a pass counts, with its meaning."""

    help: str


def statistic(help: str) -> Any:  # noqa: A002
    """Declare a number that a pass counts with `context.record(name=...)`."""
    return Statistic(help)


@dataclasses.dataclass(frozen=True)
class Pass(Configured):
    """A step of a pipeline: a frozen dataclass whose fields are its options and whose docstring is its manual.

    Subclasses set `name` (kebab case) and `fidelity`: `exact` promises the same results up to float error, `close` the
    same within a small tolerance, `lossy` promises nothing but finite numbers. They declare options with `fxc.option`
    and statistics with `fxc.statistic`, keep no state between runs, and override `apply`.

    `masks` tells what becomes of the masks in the graph: `aside` takes them off while the pass runs, so that it sees
    weights with plain zeros, and puts them back over the weights that are still there; `seen` leaves them in the graph;
    `baked` makes them plain zeros for good. A pass that `adds_results` may let the module give a pair: what it gave
    before, and a dictionary of further values.
    """

    kind: ClassVar[str] = "pass"
    fidelity: ClassVar[Fidelity] = "lossy"
    masks: ClassVar[Literal["aside", "seen", "baked"]] = "aside"
    adds_results: ClassVar[bool] = False

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        """Edit `module` or make a new one, and return the module to go on with.

        Raises:
            PassFailed: a precondition is not met.
        """
        raise NotImplementedError


def statistics_of(cls: type[Pass]) -> dict[str, str]:
    """Return name and meaning of every statistic that a pass class declares, inherited ones too."""
    found = {}
    for base in reversed(cls.__mro__):
        found.update({name: value.help for name, value in vars(base).items() if isinstance(value, Statistic)})
    return found


def check_class(cls: Any) -> None:
    """Raise PipelineError where `cls` is not a pass class that keeps the contract, with what to mend."""
    check_configured(cls, Pass)
    if cls.fidelity not in FIDELITIES:
        raise PipelineError(f"pass {cls.name!r} has fidelity {cls.fidelity!r}", hint=f"one of {', '.join(FIDELITIES)}")
    if cls.apply is Pass.apply:
        where = f"{cls.__module__}.{cls.__qualname__}"
        raise PipelineError(f"pass class {where} has no apply method")
