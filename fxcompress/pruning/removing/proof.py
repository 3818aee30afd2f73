"""The proof of an exact removal: the model with the removed slices set to zero gives what the smaller model gives."""

from __future__ import annotations

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from fxcompress.analysis.observe import buffers_restored
from fxcompress.capturing import Inputs
from fxcompress.errors import PassFailed
from fxcompress.graph.tensors import named_tensors
from fxcompress.pruning.removing.places import Removed

# Far above what rounding gives, in any format, and far below what one neuron too many gives.
_LARGEST = {torch.float64: 1e-5, torch.float32: 1e-3}


def prove(before: GraphModule, after: GraphModule, removed: Removed, inputs: Inputs) -> float:
    """Set the removed slices of `before` to zero, run both modules, and return how far apart their results are.

    Args:
        before: a copy of the module as it was; it is changed.
        removed: {tensor: {dim: positions}}.

    Returns:
        ||after - before|| / ||before|| over all floating results, in float64.

    Raises:
        PassFailed: it is more than rounding can explain: a rule is wrong.
    """
    set_to_zero(before, removed)
    after.recompile()
    with torch.no_grad(), buffers_restored(after):
        want, got = (_results(module, inputs) for module in (before, after))
    error = relative_error(got, want)
    allowed = max((_LARGEST.get(one.dtype, 5e-2) for one in want), default=0.0)
    if not error <= allowed:
        raise PassFailed(
            f"removing slots exactly changed the results by {error:.1e}",
            hint="an axis rule is wrong: please report it; without exact=true slots are removed all the same",
        )
    return error


def set_to_zero(module: torch.nn.Module, removed: Removed) -> None:
    """Set slices of weights, floating or quantized, to zero: {tensor: {dim: positions}}; numbers of places stay."""
    tensors = dict(named_tensors(module))
    with torch.no_grad():
        for name, dims in removed.items():
            for dim, positions in dims.items():
                if tensors[name].is_floating_point() or tensors[name].dtype == torch.int8:
                    tensors[name].index_fill_(dim, torch.tensor(positions, device=tensors[name].device), 0)


def _results(module: GraphModule, inputs: Inputs) -> list[torch.Tensor]:
    with torch.random.fork_rng():
        # A model that draws random numbers draws the same in both runs.
        torch.manual_seed(0)
        found = pytree.tree_leaves(module(*inputs.args, **inputs.kwargs))
    return [one for one in found if isinstance(one, torch.Tensor) and one.is_floating_point()]


def relative_error(got: list[torch.Tensor], want: list[torch.Tensor]) -> float:
    """Return ||got - want|| / ||want|| over all tensors; infinite where only one is finite."""
    difference = reference = 0.0
    for one, other in zip(got, want, strict=True):
        if not torch.equal(one.isfinite(), other.isfinite()):
            return float("inf")
        finite = other.isfinite()
        difference += float((one.double() - other.double())[finite].square().sum())
        reference += float(other.double()[finite].square().sum())
    return float((difference / reference) ** 0.5) if reference else difference**0.5
