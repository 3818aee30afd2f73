"""Which positions of its first form a tensor has kept, over all passes that removed some: kept with the module."""

from __future__ import annotations

from torch.fx import GraphModule

from fxcompress.pruning.removing.places import Plan
from fxcompress.pruning.removing.plan import followed_by

_KEY = "kept_positions"


def remember(module: GraphModule, plan: Plan) -> None:
    """Note in `module.meta` what a pass kept; the numbers of `plan` are those before that pass."""
    module.meta[_KEY] = followed_by(module.meta.get(_KEY, {}), plan)


def kept_since(before: GraphModule, module: GraphModule, name: str, dim: int) -> list[int] | None:
    """Return which positions of the tensor `name` of `before` are left in `module`, None where all are.

    No axis is asked for of which each group of a convolution keeps positions of its own.

    Args:
        before: an earlier form of `module`, with the same names.
    """
    now = module.meta.get(_KEY, {}).get(name, {}).get(dim)
    then = before.meta.get(_KEY, {}).get(name, {}).get(dim)
    if now is None or now == then:
        return None
    assert isinstance(now, list)
    return list(now) if then is None else [then.index(place) for place in now]
