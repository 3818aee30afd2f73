"""Which rule counts the multiply-accumulates of an op."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch.fx import Node

from fxcompress.analysis.kernel_macs import OWN_RULES
from fxcompress.analysis.macs import ATEN_RULES, Rule, grouped_product

# By name and not by object, since not every PyTorch has every op, and other packages register theirs on import.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **{f"aten.{name}": rule for name, rule in ATEN_RULES.items()},
        **{f"fxcompress.{name}": rule for name, rule in OWN_RULES.items()},
        "transformers.grouped_mm_fallback": grouped_product("input", "weight"),
    }
)


def rule_for(node: Node, rules: Mapping[str, Rule]) -> Rule | None:
    """Return the rule for the op that `node` calls, in place or not; None where there is none."""
    name = str(getattr(node.target, "overloadpacket", node.target))
    return rules.get(name) or rules.get(name.removesuffix("_"))
