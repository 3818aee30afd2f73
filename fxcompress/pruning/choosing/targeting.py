"""Which groups a pass's patterns mean: those whose slots a named layer computes."""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import Pin
from fxcompress.analysis.axes.groups import Group
from fxcompress.contract import PassContext
from fxcompress.errors import PassFailed
from fxcompress.text import plural


class Targeting:
    """Finds the layers that compute each group of one module."""

    def __init__(self, module: GraphModule, axes: Axes, context: PassContext) -> None:
        self.module, self.axes, self.context = module, axes, context

    def layers(self, group: Group) -> set[Node]:
        """Return the calls that compute the slots of a group from weights, or scale them."""
        own = [carrier for carrier in group.carriers if id(carrier.axis) not in self.axes.contracted]
        return {user for carrier in own for user, _ in self.axes.readers.get(id(carrier.axis.value), [])}

    def chosen(self, groups: Sequence[Group], targets: tuple[str, ...], ignore: tuple[str, ...]) -> list[Group]:
        """Return the groups that `targets` mean, every one without targets, and `ignore` does not.

        Raises:
            PassFailed: a pattern matches nothing, or none of the groups it means can lose slots.
        """
        if not targets and not ignore:
            return list(groups)
        meant = set(self.context.select(self.module, targets))
        spared = set(self.context.select(self.module, ignore)) if ignore else set()
        rows = [(group, self.layers(group)) for group in groups]
        found = [group for group, layers in rows if (not targets or layers & meant) and not layers & spared]
        if targets and not any(group.free for group in found):
            raise PassFailed(f"nothing can be removed from {', '.join(targets)}{_reasons(found)}")
        return found

    def ratios(self, groups: Sequence[Group], given: tuple[str, ...]) -> dict[str, float]:
        """Return the ratios that `pattern:ratio` words give to groups, by their names; the last one counts."""
        found: dict[str, float] = {}
        for word in given:
            pattern, _, number = word.rpartition(":")
            try:
                ratio = float(number)
            except ValueError:
                ratio = -1.0
            if not pattern or not 0 <= ratio <= 1:
                raise PassFailed(f"{word!r} is no ratio of its own", hint="write pattern:ratio, as in layer1.*:0.3")
            meant = set(self.context.select(self.module, (pattern,)))
            found |= {group.name: ratio for group in groups if self.layers(group) & meant}
        return found


def _reasons(groups: Sequence[Group]) -> str:
    """Return why groups are pinned, the first few."""
    pins = {group.name: group.leaf.pin for group in groups if isinstance(group.leaf.pin, Pin)}
    if not pins:
        return ": it computes no axis that a parameter carries"
    lines = [f"\n  {name}: %{pin.node.name} {pin.text}" for name, pin in list(pins.items())[:3]]
    more = f"\n  and {plural(len(pins) - 3, 'more group')}" if len(pins) > 3 else ""
    return ":" + "".join(lines) + more
