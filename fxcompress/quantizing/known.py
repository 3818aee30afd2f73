"""What is found out of a model that is quantized more than once: ranges of activations, and rounded weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch.fx import GraphModule, Node

from fxcompress.calibration import Observer
from fxcompress.capturing import Inputs
from fxcompress.contract import PassContext
from fxcompress.quantizing.activations import Activation, measure
from fxcompress.quantizing.rounding import Rounded, round_weight
from fxcompress.schemes import Scheme
from fxcompress.weights import Weight


class Known:
    """Static ranges by the names of nodes, and weights rounded to nearest by their paths and schemes.

    Neither depends on what else is rounded: ranges are those of the model in floats. Copies of a graph keep the names.
    """

    def __init__(self) -> None:
        self._ranges: dict[str, Activation] = {}
        self._rounded: dict[tuple[str, Scheme], Rounded] = {}

    def measure(
        self,
        module: GraphModule,
        activations: Sequence[Activation],
        batches: Sequence[Inputs],
        make: Callable[[Node], Observer],
        context: PassContext,
    ) -> None:
        """Give static `activations` their ranges, with a run on the calibration data where one is not known.

        Raises:
            InputError: a batch does not fit.
        """
        static = [one for one in activations if one.kind == "tensor"]
        new = [one for one in static if one.value.name not in self._ranges]
        if new:
            measure(module, new, batches, make, context)
            self._ranges |= {one.value.name: one for one in new}
        for one in static:
            known = self._ranges[one.value.name]
            one.scale, one.zero, one.static_db, one.token_db = known.scale, known.zero, known.static_db, known.token_db

    def rounded(self, weight: Weight, scheme: Scheme) -> Rounded:
        """Return `weight` rounded to nearest in tensors of its own.

        Raises:
            PassFailed: a weight is not finite in float32.
        """
        key = weight.path, scheme
        if key not in self._rounded:
            self._rounded[key] = round_weight(weight, scheme)
        found = self._rounded[key]
        zeros = None if found.zeros is None else found.zeros.clone()
        return replace(found, integers=found.integers.clone(), scales=found.scales.clone(), zeros=zeros)
