"""Prunes every model of the zoo, and proves what came out against the original model.

    python benchmarks/zoo_pruning.py --names 'resnet*' bert --json benchmarks/results/zoo_pruning.json

For each model, with random weights, biases, norm scales and batch-norm statistics, in float64 (in float32 above 250
million parameters, and where the model itself does not run in float64):

- `prune{ratio=0.5}`: seconds of the pass, the share of the parameters that it removed; the results keep their shapes.
- `prune{ratio=0.5 exact=true}`: the same, and the relative error between the pruned graph and the *original* module
  whose removed slices, as `details["removed"]` names them, were set to zero.
- the permutation test: the slots of every group change places in all carriers, and the results must not change.

A model is ok where the errors are below 1e-10 (1e-5 where it computes in float32 inside), at least a fifth of the
parameters goes, and the pass takes less than 60 s. For a model pruned less the largest pinned axes are listed.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time
from typing import Any

from zoo import relative_error
from zoo_running import Row, chosen, output_of, parser, run_all

LARGEST_DOUBLE = 250e6
LEAST_REMOVED, MOST_SECONDS = 0.2, 60.0


def main() -> int:
    options = parser(__doc__).parse_args()
    if options.one:
        print(json.dumps(run_one(options.one)))
        return 0
    rows = run_all(
        options,
        chosen(options.names),
        lambda name: [sys.executable, "-W", "ignore", __file__, "--one", name],
        lambda rows: {"summary": summary(rows)},
    )
    print(table(rows))
    print(summary(rows))
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def run_one(name: str) -> Row:
    """Prune one model and return what came out."""
    import torch
    from zoo_models import entries, import_torchvision

    import fxcompress

    entry = next(entry for entry in entries() if entry.name == name)
    import_torchvision()
    torch.manual_seed(0)
    model = entry.build().eval()
    params = _count(model)
    row: Row = {"name": name, "library": entry.library, "params": params}
    try:
        model, inputs = widened(randomised(model), *entry.inputs(2))
        row["dtype"] = str(next(model.parameters()).dtype).removeprefix("torch.")
        start = time.perf_counter()
        captured = fxcompress.capture(model, inputs)
        row["capture_seconds"] = round(time.perf_counter() - start, 2)
        row |= lossy(captured)
        row |= exact(model, captured)
        row |= permuted(captured)
    except Exception as error:
        return row | {"status": "failed", "message": f"{type(error).__name__}: {error}"[:1000]}
    return row | {"status": verdict(row)}


def randomised(model: Any) -> Any:
    """Give norms and biases values that no error hides behind."""
    import torch

    norms = torch.nn.modules.batchnorm._NormBase
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, norms) and module.running_mean is not None:
                module.get_buffer("running_mean").normal_(0, 0.1)
                module.get_buffer("running_var").uniform_(0.5, 1.5)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and name.endswith("bias"):
                parameter.normal_(0, 0.1)
            elif parameter.dim() == 1:
                parameter.mul_(torch.empty_like(parameter).uniform_(0.5, 1.5))
    return model


def widened(model: Any, args: Any, kwargs: Any) -> Any:
    """Return the model and its inputs in float64, where it is not too large and runs so."""
    import torch

    import fxcompress

    def inputs(kind: Any) -> Any:
        return fxcompress.Inputs(
            *[_cast(one, kind) for one in args], **{key: _cast(one, kind) for key, one in kwargs.items()}
        )

    if _count(model) < LARGEST_DOUBLE:
        wide = copy.deepcopy(model).double()
        try:
            given = inputs(torch.float64)
            output_of(wide, given.args, given.kwargs)
            return wide, given
        except RuntimeError:
            pass  # an operator without float64
    return model, inputs(torch.float32)


def _cast(value: Any, kind: Any) -> Any:
    import torch

    return value.to(kind) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def lossy(captured: Any) -> Row:
    """Prune half of every group; where that is little, say which axes are pinned."""
    import fxcompress

    result = fxcompress.compress(captured, None, "prune{ratio=0.5}", diffs=False)
    removed = 1 - _count(result.module) / _count(captured.module)
    row: Row = {"removed": round(removed, 4), "seconds": round(result.stages[0].seconds, 2)}
    row["unknown"] = result.stages[0].details["unknown"]
    if removed < LEAST_REMOVED:
        row["pinned"] = pinned(captured.module)
    return row


def exact(model: Any, captured: Any) -> Row:
    """Prune exactly, and compare with the original module whose removed slices are zero."""
    import fxcompress
    from fxcompress.pruning.removing.proof import set_to_zero

    result = fxcompress.compress(captured, None, "prune{ratio=0.5 exact=true}", diffs=False)
    stage = result.stages[0]
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    known |= {name for name, _ in model.named_buffers(remove_duplicate=False)}
    masked = copy.deepcopy(model)
    set_to_zero(masked, {name: dims for name, dims in stage.details["removed"].items() if name in known})
    inputs = captured.inputs
    want, got = (output_of(one, inputs.args, inputs.kwargs) for one in (masked, result.module))
    return {
        "removed_exactly": round(1 - _count(result.module) / _count(captured.module), 4),
        "error": relative_error(_flat(got), _flat(want)),
        "exact_seconds": round(stage.seconds, 2),
    }


def permuted(captured: Any) -> Row:
    """Permute the slots of all groups in all carriers, and compare the results."""
    from fxcompress.analysis.axes.analyse import analyse
    from fxcompress.analysis.axes.axis import TAPPED
    from fxcompress.analysis.axes.groups import groups_of
    from fxcompress.analysis.axes.terms import leaves
    from fxcompress.testing.permuting import permute, random_orders

    inputs = captured.inputs
    want = output_of(captured.module, inputs.args, inputs.kwargs)
    module = copy.deepcopy(captured.module)
    axes = analyse(module)
    tapped = {
        id(one) for roles in axes.roles.values() for role in roles if role.kind == TAPPED for one in leaves(role.term)
    }
    free = [group.leaf for group in groups_of(axes) if group.free and id(group.leaf) not in tapped]
    permute(module, axes, random_orders(free))
    got = output_of(module, inputs.args, inputs.kwargs)
    return {"groups": len(free), "permutation_error": relative_error(_flat(got), _flat(want))}


def _flat(result: Any) -> list[Any]:
    """Return the finite floating tensors of a result."""
    import torch
    from torch.utils import _pytree as pytree

    return [
        leaf.nan_to_num(0, 0, 0)
        for leaf in pytree.tree_leaves(result)
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
    ]


def pinned(module: Any) -> list[str]:
    """Return the pinned axes that most parameters carry, each with the call that pins it."""
    from fxcompress.analysis.axes.analyse import analyse
    from fxcompress.analysis.axes.axis import Pin
    from fxcompress.analysis.axes.groups import groups_of
    from fxcompress.graph.tensors import attribute

    found = []
    for group in groups_of(analyse(module)):
        pin = group.leaf.pin
        if isinstance(pin, Pin):
            weight = sum(attribute(module, carrier.path).numel() for carrier in group.carriers)
            found.append((weight, f"{group.name} ({group.size}): %{pin.node.name} {pin.text} ({pin.node.target})"))
    return [text for _, text in sorted(found, reverse=True)[:5]]


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def verdict(row: Row) -> str:
    """Return ok, or what is not."""
    # A model that computes in float32 inside, as many norms do, has that error whatever its parameters are.
    if max(row["error"], row["permutation_error"]) > 1e-5:
        return "wrong"
    if max(row["seconds"], row["exact_seconds"]) > MOST_SECONDS:
        return "slow"
    return "ok" if row["removed"] >= LEAST_REMOVED else "little"


HEADERS = ("model", "status", "params", "removed", "exactly", "error", "permutation", "groups", "capture s", "prune s")


def table(rows: list[Row]) -> str:
    from tabulate import tabulate

    return str(tabulate([_cells(row) for row in rows], headers=HEADERS))


def _cells(row: Row) -> list[Any]:
    if "permutation_error" not in row:
        return [row["name"], row["status"]]
    shares = [f"{row[key]:.0%}" for key in ("removed", "removed_exactly")]
    errors = [f"{row[key]:.1e}" for key in ("error", "permutation_error")]
    return [
        row["name"],
        row["status"],
        row["params"],
        *shares,
        *errors,
        row["groups"],
        row["capture_seconds"],
        row["seconds"],
    ]


def summary(rows: list[Row]) -> str:
    """Return the counts and the seconds in a few lines."""
    done = [row for row in rows if "permutation_error" in row]
    if not done:
        return f"none of {len(rows)} models was pruned"
    enough = sum(row["removed"] >= LEAST_REMOVED for row in done)
    tight = sum(max(row["error"], row["permutation_error"]) < 1e-10 for row in done)
    within = sum(max(row["error"], row["permutation_error"]) < 1e-5 for row in done)
    seconds = [row["seconds"] for row in done]
    return (
        f"{enough} of {len(rows)} models lose at least {LEAST_REMOVED:.0%} of their parameters; exact and unchanged by "
        f"permutation: {tight} below 1e-10, {within} below 1e-5; the pass takes {statistics.median(seconds):.2f} s "
        f"(median), {max(seconds):.1f} s (maximum)"
    )


if __name__ == "__main__":
    sys.exit(main())
