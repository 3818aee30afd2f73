"""Which scheme each weight gets: that of the pass, one of its own, or the next best that its shape allows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch.fx import GraphModule

from fxcompress.contract import PassContext
from fxcompress.errors import PassFailed, UsageError
from fxcompress.quantizing.rounding import fitted
from fxcompress.schemes import GROUP, Granularity, Scheme, scheme_named
from fxcompress.text import listing
from fxcompress.weights import Weight


@dataclass(frozen=True)
class Wanted:
    """What the options of `quantize` ask for; see there."""

    scheme: str
    schemes: tuple[str, ...]
    group: int | None
    granularity: Granularity | None

    def schemes_of(
        self, module: GraphModule, context: PassContext, weights: list[Weight]
    ) -> list[tuple[Weight, Scheme]]:
        """Return each weight with its scheme; where that is not the one asked for, a note says why."""
        own = self._own(module, context, weights)
        found, others = [], dict[str, list[str]]()
        for weight in weights:
            scheme, why = fitted(weight, own.get(id(weight), self._adapted(self.scheme)))
            if why is not None:
                others.setdefault(why, []).append(weight.path)
            if scheme is not None:
                found.append((weight, scheme))
        for why, paths in others.items():
            context.note(f"{listing(paths)}: {why}")
        return found

    def _own(self, module: GraphModule, context: PassContext, weights: list[Weight]) -> dict[int, Scheme]:
        """Return the schemes that `pattern:scheme` words give to weights, by the weights' ids; the last one counts."""
        found: dict[int, Scheme] = {}
        for word in self.schemes:
            pattern, _, name = word.rpartition(":")
            if not pattern:
                raise PassFailed(f"{word!r} is no scheme of its own", hint="write pattern:scheme, as in layer1.*:w4a16")
            scheme, meant = self._adapted(name), set(context.select(module, (pattern,)))
            found |= {id(weight): scheme for weight in weights if meant & {*weight.readers, *weight.users}}
        return found

    def _adapted(self, name: str) -> Scheme:
        """Return the scheme of that name, with the group and granularity that were asked for."""
        try:
            scheme = scheme_named(name)
        except UsageError as error:
            raise PassFailed(error.message, hint=error.hint) from None
        if self.granularity is not None and scheme.format != "bf16":
            scheme = replace(scheme, granularity=self.granularity)
        if scheme.granularity != "group":
            return replace(scheme, group=0)
        return replace(scheme, group=self.group or scheme.group or GROUP)
