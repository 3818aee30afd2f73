"""Norms by the root mean square, written by hand: their mean over fewer positions is undone in weight and eps.

x w / sqrt(s / n + eps) is x w' / sqrt(s / n' + eps') for w' = w sqrt(n / n') and eps' = eps n / n', where s is the sum
of the squares. So a module that divides by the n' that are left computes what the graph computes with n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

LARGEST_EPS = 1e-2


@dataclass(frozen=True)
class Rescaling:
    """How the norms of a class are rescaled.

    Attributes:
        owner: the class.
        eps: name of the attribute.
        weight: name of the parameter.
        offset: what the norm adds to its weight, 0 or 1.
    """

    owner: type[nn.Module]
    eps: str
    weight: str
    offset: int

    def apply(self, module: nn.Module, old: int) -> str | None:
        """Rescale one norm that had `old` positions; return what was done, None where nothing has to be."""
        weight: torch.Tensor = getattr(module, self.weight)
        left = weight.shape[0]
        if left == old:
            return None
        factor = math.sqrt(old / left)
        weight.data = (weight.detach() + self.offset) * factor - self.offset
        setattr(module, self.eps, getattr(module, self.eps) * old / left)
        return f"{self.weight} times {factor:.4g}, {self.eps} times {old / left:.4g}"


def rescalings_of(modules: list[nn.Module], pruned: set[int]) -> list[Rescaling]:
    """Return the ways to rescale that the classes of `modules` allow: one pruned vector, one small positive number."""
    found: dict[Rescaling, None] = {}
    for module in modules:
        vectors = [name for name, held in module._parameters.items() if held is not None and held.dim() == 1]
        if len(vectors) == 1 and not module._modules and id(module._parameters[vectors[0]]) in pruned:
            for name, value in module.__dict__.items():
                if type(value) is float and 0 < value <= LARGEST_EPS:
                    for offset in (0, 1):
                        found[Rescaling(type(module), name, vectors[0], offset)] = None
    return list(found)
