"""Recovery from pruning without labels: layers are fitted to what they gave before."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.observe import buffers_restored
from fxcompress.calibration.run import values_of
from fxcompress.contract import Pass, PassContext, above, at_least, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.pruning.refitting.layer_by_layer import Settings, Task, refit, tasks_of
from fxcompress.pruning.refitting.least_squares import Fit
from fxcompress.text import listing


@dataclass(frozen=True)
class Reconstruct(Pass):
    """Fit the layers that read fewer channels than before to what they gave before, on calibration data.

    Layer by layer, in the order of the graph, the weights and the bias that are left of a linear or convolution are
    fitted by least squares: the inputs are those that the layers before it, fitted already, give; the target is what
    the model gave at the same place before the first pass. Moments are summed up in float64 over at most `samples`
    rows of the inputs (positions of a convolution, drawn at random). A ridge pulls towards the weights as they were
    pruned; of `damping` and a hundred, ten thousand and a million times that, the one is taken that is best on a
    quarter of the rows, which are held out; where none is better there than the old weights, these stay.

    No labels are needed, and no gradients. Batch norms keep their statistics.

    Least squares for the layers behind pruned channels: He, Zhang, Sun, Channel pruning for accelerating very deep
    neural networks, 2017; layer by layer with a damped closed form: Frantar, Alistarh, SparseGPT, 2023.

    `details`: `error` maps each weight that was looked at to its error on the rows held out, `before` and `after`: the
    sum of squares of the difference, as a share of that of the target.
    """

    name = "reconstruct"
    fidelity = "lossy"
    samples: int = option(8192, help="rows of inputs that a layer is fitted to, at most", check=at_least(8))
    damping: float = option(1e-8, help="smallest ridge, as a share of the inputs' mean square", check=above(0))
    bias: bool = option(False, help="give fitted layers without a bias one")
    all: bool = option(False, help="fit every layer, not only those that read fewer channels than before")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to fit; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave as they are")
    refitted = statistic("layers fitted")
    kept = statistic("layers whose old weights are better on the rows held out")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        before = context.resources.before
        if before is None:
            raise PassFailed(
                "it needs the model as it was before the first pass", hint="run it in a pipeline: prune,reconstruct"
            )
        before = copy.deepcopy(before).eval() if before.training else before
        batches = list(context.calibration())
        nodes = context.select(module, self.targets, self.ignore)
        tasks = tasks_of(module, before, nodes, every=self.all)
        todo = {node: task for node, task in tasks.items() if isinstance(task, Task)}
        outcomes: dict[Node, Fit | str] = {node: task for node, task in tasks.items() if isinstance(task, str)}
        if todo:
            values = values_of(module, batches), values_of(before, batches)
            settings = Settings(self.samples, self.damping, self.bias, context.generator())
            with torch.no_grad(), buffers_restored(module), buffers_restored(before):
                outcomes |= refit(module, before, todo, values, settings)
        self._tell(context, outcomes, {node: task.layer.path for node, task in todo.items()})
        return module

    def _tell(self, context: PassContext, outcomes: Mapping[Node, Fit | str], paths: Mapping[Node, str]) -> None:
        fits = {paths[node]: fit for node, fit in outcomes.items() if isinstance(fit, Fit)}
        context.details["error"] = {path: {"before": fit.before, "after": fit.after} for path, fit in fits.items()}
        stay = [path for path, fit in fits.items() if fit.weight is None]
        context.record(refitted=len(fits) - len(stay), kept=len(stay))
        if stay:
            context.note(f"{listing(stay)}: left alone, no fit is better on the rows held out")
        left = {paths.get(node) or f"%{node.name}": why for node, why in outcomes.items() if isinstance(why, str)}
        for why in dict.fromkeys(left.values()):
            context.note(f"{listing([name for name, reason in left.items() if reason == why])}: left alone, {why}")
        if not outcomes:
            context.note("nothing to fit: no layer reads fewer channels than before (all=true fits every layer)")
