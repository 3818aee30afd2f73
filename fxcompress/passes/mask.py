"""Sparsity: weights set to zero, one by one, by N of M, or in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, above, at_least, between, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.passes.mask_evidence import GRADIENTS, Evidence, masked_at
from fxcompress.sparsity import bake_masks, insert_mask, masks_of
from fxcompress.sparsity.choosing import Choice, Scope
from fxcompress.sparsity.patterns import PATTERN, Blocks, KeepOf, Pattern, Unstructured, pattern_of
from fxcompress.sparsity.rows import from_rows, rows_of
from fxcompress.sparsity.schedule import pattern_at, share_done
from fxcompress.text import listing
from fxcompress.training import train_once
from fxcompress.weights import Weight, selected_weights


@dataclass(frozen=True)
class Mask(Pass):
    """Set the weights that matter least to zero.

    `sparsity` is the share that becomes zero: of each tensor (scope `local`, or `layer`), of each output (`row`), or of
    all weights together (`global`); it is met to the weight. `threshold` instead sets every weight of a smaller
    magnitude to zero. The weights that were masked before go first. Shapes stay as they are.

    `pattern` says what goes together. `2:4` keeps two of every four neighbours that an output reads, `N:M` any other
    numbers; then it says the sparsity too. `block:16x16` takes whole blocks of outputs by inputs; every row of blocks
    keeps equally many, unless `balanced=false`. A convolution counts as a matrix of outputs by inputs times kernel.

    `importance` says what matters: `magnitude` (Han et al., 2015); `wanda`, magnitude times the norm of the input (Sun
    et al., 2023), which ranks within each output; `sparsegpt`, what removing a weight costs if the others of its output
    make up for it, which they do (Frantar and Alistarh, 2023); `taylor`, weight times gradient (Molchanov et al.,
    2019); `movement`, how far weights move away from zero in an epoch of training (Sanh et al., 2020); `random`. A
    block counts by the mean of its squares.

    With `steps` the share grows from step to step, with an epoch of training between them, under the mask: in equal
    steps, or large ones first (`cubic`; Zhu and Gupta, 2017).

    A mask is a node between a weight and the layers that read it, and a buffer `WEIGHT_mask`. So masked weights stay
    zero in training, whatever the optimizer does. `bake` makes masks plain zeros; `baked=true` writes these at once.

    Weights are the parameters that linears, convolutions, recurrent layers and products of matrices calculate with,
    not their biases. Fixed filters (buffers) and embeddings are left alone unless `targets` name them, tied embeddings
    too: rows that are looked up are not summed, so that each small weight counts by itself.

    `details`: `masked` maps each weight to the number of its elements that are zero afterwards.
    """

    name = "mask"
    fidelity = "lossy"
    sparsity: float = option(0.5, help="share of weights set to zero", check=between(0, 1))
    threshold: float | None = option(None, help="set weights below this magnitude to zero instead", check=at_least(0))
    pattern: str = option("unstructured", help="what goes together: unstructured, 2:4, block:16x16", check=PATTERN)
    balanced: bool = option(True, help="every row of blocks keeps equally many")
    importance: Literal["magnitude", "wanda", "sparsegpt", "taylor", "movement", "random"] = option(
        "magnitude", help="what weights are ranked by"
    )
    scope: Literal["local", "layer", "row", "global"] | None = option(
        None,
        help="rank within each tensor, each output, or over all; by default each tensor, or with wanda each output",
    )
    steps: int = option(1, help="mask in so many steps, with training between them", check=at_least(1))
    schedule: Literal["cubic", "linear"] = option("cubic", help="how the share grows with the steps")
    learning_rate: float = option(1e-3, help="of the training between steps, and for movement", check=at_least(0))
    samples: int = option(16384, help="rows of a layer's inputs that wanda and sparsegpt look at", check=at_least(1))
    damping: float = option(0.01, help="ridge of sparsegpt, as a share of the inputs' mean square", check=above(0))
    batches: int = option(16, help="training batches that taylor takes gradients of", check=at_least(1))
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to mask; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    baked: bool = option(False, help="write plain zeros, which training changes, in place of masks")
    zeroed = statistic("weights set to zero")
    zeros = statistic("weights that are zero afterwards")
    weights = statistic("weights looked at")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        pattern = self._checked(context)
        weights = selected_weights(module, context, self.targets, self.ignore, embeddings=False)
        old = {**masks_of(module), **context.masks}
        before = [int(weight.tensor.count_nonzero()) for weight in weights]
        keep = {weight.path: _all_of(weight, old.get(weight.path)) for weight in weights}
        evidence = Evidence(self, module, context)
        for step in range(1, self.steps + 1):
            done = share_done(step, self.steps, self.schedule)
            if self.importance == "movement":
                self._train(module, context, weights, keep, evidence, step)
            self._mask(weights, keep, evidence, self._choice(pattern, done))
            if step < self.steps and self.importance != "movement":
                self._train(module, context, weights, keep, evidence, step)
        self._finish(module, context, weights, keep, before)
        self._tell_edges(context, weights, pattern)
        return module

    def _checked(self, context: PassContext) -> Pattern:
        """Return the pattern, where the options and the data go together."""
        pattern = pattern_of(self.pattern)
        assert pattern is not None
        _check_amounts(self, pattern)
        if self.scope == "global" and isinstance(pattern, Blocks) and self.balanced:
            raise PassFailed(
                "scope=global takes more blocks of some rows than of others",
                hint="give balanced=false, or another scope",
            )
        if self.scope == "row" and not isinstance(pattern, Unstructured):
            raise PassFailed(f"scope=row ranks single weights, not {self.pattern}", hint="leave scope out")
        if context.train is None and (self.steps > 1 or self.importance in GRADIENTS):
            what = f"importance={self.importance}" if self.importance in GRADIENTS else f"steps={self.steps}"
            raise PassFailed(
                f"{what} needs training data", hint="give  fxc.compress(..., train=fxc.TrainingData(batches, loss))"
            )
        return pattern

    def _choice(self, pattern: Pattern, done: float) -> Choice | float | None:
        """Return what goes when the share `done` of it goes; a threshold where one is given, None for nothing."""
        if self.threshold is not None:
            return self.threshold * done
        now = pattern_at(pattern, done)
        return None if now is None else Choice(now, self.sparsity * done, self._scope(), self.balanced)

    def _scope(self) -> Scope:
        if self.scope is None:
            return "row" if self.importance == "wanda" else "local"
        return "local" if self.scope == "layer" else self.scope

    def _mask(
        self,
        weights: Sequence[Weight],
        keep: dict[str, torch.Tensor],
        evidence: Evidence,
        choice: Choice | float | None,
    ) -> None:
        """Choose what goes, set it to zero, and write it into `keep`."""
        if choice is None:
            return
        rows = {weight.path: rows_of(weight, keep[weight.path]) for weight in weights}
        found = masked_at(evidence, weights, rows, choice)
        with torch.no_grad():
            for weight, made in zip(weights, found, strict=True):
                keep[weight.path] = keep[weight.path] & from_rows(weight, made.keep)
                if made.rows is not None:
                    weight.tensor.copy_(from_rows(weight, made.rows))
                weight.tensor.masked_fill_(~keep[weight.path], 0)

    def _train(
        self,
        module: GraphModule,
        context: PassContext,
        weights: Sequence[Weight],
        keep: dict[str, torch.Tensor],
        evidence: Evidence,
        step: int,
    ) -> None:
        """Train for an epoch under the masks so far, and under those of other weights."""
        assert context.train is not None
        for path, mask in {**context.masks, **keep}.items():
            insert_mask(module, path, mask)
        module.recompile()
        loss = train_once(
            module, context.train, self.learning_rate, context.seed + step, context, lambda: evidence.look(weights)
        )
        bake_masks(module)
        module.recompile()
        context.note(f"step {step} of {self.steps}: mean training loss {loss:.4g}")

    def _finish(
        self,
        module: GraphModule,
        context: PassContext,
        weights: Sequence[Weight],
        keep: dict[str, torch.Tensor],
        before: Sequence[int],
    ) -> None:
        """Put the masks into the graph, unless they are to be baked, and tell what was masked."""
        masked: dict[str, int] = {}
        for weight, nonzero in zip(weights, before, strict=True):
            after, size = int(weight.tensor.count_nonzero()), weight.tensor.numel()
            masked[weight.path] = size - after
            context.record(zeroed=nonzero - after, zeros=size - after, weights=size)
            if not self.baked:
                insert_mask(module, weight.path, keep[weight.path])
            else:
                bake_masks(module, [weight.path])
                context.masks.pop(weight.path, None)
        context.details["masked"] = masked

    def _tell_edges(self, context: PassContext, weights: Sequence[Weight], pattern: Pattern) -> None:
        """Name the weights that the pattern does not divide."""
        shapes = {weight.path: tuple(rows_of(weight, weight.tensor).shape) for weight in weights}
        if isinstance(pattern, KeepOf):
            odd = [path for path, (_, width) in shapes.items() if width % pattern.of]
            if odd:
                context.note(f"{listing(odd)}: the last of each row are fewer than {pattern.of}; {pattern.keep} stay")
        if isinstance(pattern, Blocks):
            odd = [path for path, (tall, wide) in shapes.items() if tall % pattern.rows or wide % pattern.columns]
            if odd:
                context.note(f"{listing(odd)}: {self.pattern} does not divide it; the blocks at its edges are smaller")


def _all_of(weight: Weight, mask: torch.Tensor | None) -> torch.Tensor:
    whole = torch.ones_like(weight.tensor, dtype=torch.bool)
    return whole if mask is None else whole & mask.to(weight.tensor.device)


def _check_amounts(options: Mask, pattern: Pattern) -> None:
    """Raise where two options say how much goes."""
    default = 0.5
    if options.threshold is not None:
        if options.sparsity != default:
            raise PassFailed("sparsity and threshold both say how much goes", hint="give one of them")
        if not isinstance(pattern, Unstructured) or options.importance != "magnitude":
            raise PassFailed(
                "a threshold is one of single magnitudes", hint="give sparsity in its place, or leave the others out"
            )
    if isinstance(pattern, KeepOf) and options.sparsity not in (default, 1 - pattern.keep / pattern.of):
        raise PassFailed(
            f"pattern={options.pattern} says how much goes, and so does sparsity={options.sparsity}",
            hint=f"leave sparsity out: {options.pattern} is {1 - pattern.keep / pattern.of:g}",
        )
