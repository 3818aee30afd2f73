"""Structured pruning: whole neurons, channels and heads are removed, with everything that carries them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, at_least, between, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.graph.shapes import propagate
from fxcompress.graph.tensors import named_tensors
from fxcompress.pruning.choosing.selection import Selection, prune_once
from fxcompress.pruning.choosing.settings import Settings
from fxcompress.pruning.choosing.steps import added, prune_in_steps
from fxcompress.pruning.masked.constant_slots import move_constants
from fxcompress.pruning.removing.history import remember
from fxcompress.pruning.removing.plan import removed_by
from fxcompress.pruning.removing.proof import prove
from fxcompress.pruning.removing.shuffles import relax_shuffles
from fxcompress.text import plural


@dataclass(frozen=True)
class Prune(Pass):
    """Remove whole neurons, channels and heads, and everything that carries them.

    What is removed together is read off the graph: an axis of a tensor is made of atoms, and a slot of an atom is
    removed from every parameter, buffer and constant that carries it. No layer type or architecture has to be known,
    and nothing is left masked: the sizes of the graph shrink.

    With `exact` only slots are removed for which the result is that of the model with the removed slices set to zero,
    up to float error, and both are run on the example inputs to prove it. The other slots are named in
    `details["inexact"]` with the layer that is in the way (norms over the pruned axis, mostly); without `exact` they
    are removed too.

    With `masked` the zeros decide: slots go on which no result depends, since all that computes them, or all that reads
    them, is zero; `ratio` and `round_to` do not count. A channel whose weights are all masked still gives what its bias
    makes of them; where that is a constant for the layer that reads it, the bias of that layer takes it up first. The
    result is that of the masked model, which is proved on the example inputs.

    Where the channels within the groups of a convolution go (`factor`), each group keeps its own most important ones,
    as many as the others, unless channels are shuffled between the groups or what stands before the convolution does
    not keep zeros: then all groups lose the same ones.

    `details`: `removed` {tensor: {dim: positions of the tensor before this pass}}, `plan` {tensor: {dim: positions that
    stay}} (a tuple of lists where each group of a convolution reads channels of its own), `groups` one row a group
    (name, size, kept, carriers), `inexact`, `unknown` (operators that no rule describes, whose axes stay), `proof` the
    relative error of an exact removal.
    """

    name = "prune"
    fidelity = "lossy"
    ratio: float = option(0.5, help="share of the slots of every group that is removed", check=between(0, 1))
    macs: float | None = option(
        None, help="share of the multiply-accumulates that stays, in place of a ratio", check=between(0, 1)
    )
    params: float | None = option(
        None, help="share of the parameters that stays, in place of a ratio", check=between(0, 1)
    )
    threshold: float | None = option(
        None, help="remove slots whose importance is below it (by default their mean activation)", check=at_least(0)
    )
    importance: str = option("group-norm", help="what slots are ranked by: see the list of importances")
    scope: Literal["local", "global", "isomorphic"] = option(
        "local", help="rank slots within each group, over all groups, or over groups of equal structure"
    )
    ratios: tuple[str, ...] = option((), help="ratios of their own, as pattern:ratio")
    round_to: int = option(8, help="leave multiples of it where a group is large enough", check=at_least(1))
    min_channels: int = option(1, help="leave so many slots of a group", check=at_least(1))
    targets: tuple[str, ...] = option((), help="layers whose outputs are pruned: paths, globs; all by default")
    ignore: tuple[str, ...] = option((), help="layers whose outputs stay")
    exact: bool = option(False, help="remove only what can be removed exactly")
    masked: bool = option(False, help="remove what masks have made useless, exactly, and nothing else")
    factor: int = option(
        0, help="of heads and their channels: 0 removes whole heads, 1 the next factor, -1 the last", check=at_least(-1)
    )
    shuffle: Literal["strict", "relaxed"] = option(
        "strict", help="relaxed: channel shuffles become constant gathers, whose halves need not lose the same channels"
    )
    steps: int = option(1, help="prune in so many steps, with training between them", check=at_least(1))
    learning_rate: float = option(1e-3, help="of the training between steps", check=at_least(0))
    batches: int = option(16, help="training batches that an importance takes gradients of", check=at_least(1))

    slots = statistic("slots removed")
    groups = statistic("groups that lost slots")
    parameters = statistic("parameters removed")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        settings = Settings.of(self)
        if self.shuffle == "relaxed":
            relax_shuffles(module)
        if self.masked:
            outcome = self._without_masked(module, context, settings)
        elif self.steps == 1:
            before = copy.deepcopy(module) if self.exact else None
            outcome = prune_once(module, context, settings)
            if before is not None:
                context.details["proof"] = prove(before, module, outcome.removed, context.inputs)
        else:
            outcome = prune_in_steps(module, context, settings, self.steps, self.learning_rate)
        remember(module, outcome.plan)
        self._tell(context, outcome)
        return module

    def _without_masked(self, module: GraphModule, context: PassContext, settings: Settings) -> Selection:
        """Remove what is masked, until removing it leaves nothing else without effect."""
        if self.steps > 1:
            raise PassFailed("masked=true removes all that is masked at once", hint="leave steps out")
        before = copy.deepcopy(module)
        constants = 0
        while found := move_constants(module, context.inputs):
            constants += found
        shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(module)}
        made = total = prune_once(module, context, settings)
        while made.slots:
            propagate(module)
            made = prune_once(module, context, settings)
            total = added(total, made) if made.slots else total
        if constants:
            total.notes.append(f"biases took up {plural(constants, 'constant')} of channels without weights")
        total.removed = removed_by(total.plan, shapes)
        context.details["proof"] = prove(before, module, {}, context.inputs)
        return total

    def _tell(self, context: PassContext, outcome: Selection) -> None:
        context.record(slots=outcome.slots, groups=len(outcome.rows), parameters=outcome.parameters)
        context.details.update(
            removed=outcome.removed,
            plan=outcome.plan,
            groups=outcome.rows,
            inexact=outcome.inexact,
            unknown=outcome.unknown,
        )
        for note in outcome.notes:
            context.note(note)
