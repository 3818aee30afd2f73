"""What a kernel is to `lower`: which linears it takes, how long they take with it, and the calls that it becomes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch.fx import Node

from fxcompress.errors import PipelineError

Rounding = Literal["none", "tokens", "static"]
_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Weight:
    """The weight of a linear as it is stored.

    Attributes:
        values: [outputs, features]: floats, int8, or float8_e4m3fn.
        scales: floats [outputs], or [outputs, groups]; None where the values are floats themselves.
        zeros: zero points of the shape of the scales; None for zeros.
        group: features that share a scale; 0 where all of an output do.
        bits: of one value as it can be stored: 4 for integers in -8..7.
    """

    values: torch.Tensor
    scales: torch.Tensor | None = None
    zeros: torch.Tensor | None = None
    group: int = 0
    bits: int = 16

    @property
    def quantized(self) -> bool:
        return self.scales is not None

    def kept(self) -> torch.Tensor:
        """Return bool [outputs, features]: what is not zero."""
        if self.zeros is None:
            return self.values.float().ne(0)
        zeros = self.zeros.view(self.values.shape[0], -1)
        wide = zeros if not self.group else zeros.repeat_interleave(self.group, 1)[:, : self.values.shape[1]]
        return self.values.float().ne(wide.float())


@dataclass(frozen=True)
class Linear:
    """A linear, or several that read one input and become one: `activation(x W^T + bias) + residual`.

    Attributes:
        layers: names of the nodes.
        rows: of x, for the sizes that the graph is lowered for.
        dtype: of x and of the result.
        weight: as it is stored; of several, one below the other.
        rounding: how x is rounded before: not at all, each token by its own range, or all by one.
        step: scale and zero point, of uint8, where all of x is rounded by one range.
        activation: one of none, relu, gelu, gelu_tanh, silu.
        biased, residual: whether there is a bias, and a residual.
        gated: the result is `activation` of the first half of the outputs times the second half, as in SwiGLU.
    """

    layers: tuple[str, ...]
    rows: int
    dtype: torch.dtype
    weight: Weight
    rounding: Rounding = "none"
    step: tuple[float, int] | None = None
    activation: str = "none"
    biased: bool = False
    residual: bool = False
    gated: bool = False
    facts: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def outputs(self) -> int:
        return self.weight.values.shape[0]

    @property
    def features(self) -> int:
        return self.weight.values.shape[1]

    def fact(self, name: str, find: Callable[[], Any]) -> Any:
        """Return what `find` gives, found once for this linear: a kernel refuses, costs and builds by the same."""
        if name not in self.facts:
            self.facts[name] = find()
        return self.facts[name]


@dataclass(frozen=True)
class Device:
    """A GPU as the prediction of times sees it.

    Attributes:
        arch: as compilers name it: `sm_90`.
        name: of the GPU that the numbers are of.
        bandwidth: bytes a second from its memory.
        operations: multiplications and additions a second, by the name of the dtype that is multiplied.
        launch: seconds that a call of a kernel takes beside its work.
        fractions: which part of the floor a kernel reaches, by its name; `otherwise` for those that are not there.
    """

    arch: str
    name: str
    bandwidth: float
    operations: Mapping[str, float]
    launch: float
    fractions: Mapping[str, float]

    def microseconds(self, kernel: str, *, moved: float, work: float, dtype: torch.dtype, launches: float = 1) -> float:
        """Return how long a call takes: the longer of moving its bytes and of its operations, and its launches.

        It is endless where the GPU does not multiply that dtype.

        Args:
            kernel: whose fraction of the floor counts.
            moved: bytes that are read and written.
            work: multiplications and additions, two for each pair of an activation and a weight.
            dtype: that is multiplied.
            launches: kernels that are launched.
        """
        rate = self.operations.get(str(dtype).removeprefix("torch."))
        if rate is None:
            return math.inf
        fraction = self.fractions.get(kernel, self.fractions["otherwise"])
        return 1e6 * (max(moved / self.bandwidth, work / rate) / fraction + launches * self.launch)


class Site(Protocol):
    """The place of a linear in the graph, as `Kernel.build` is given it.

    Attributes:
        given: the node of x in floats, not rounded.
        weight, scales, zeros, bias, residual: nodes of what the linear reads; None for what it has not.
    """

    @property
    def given(self) -> Node: ...
    @property
    def weight(self) -> Node: ...
    @property
    def scales(self) -> Node | None: ...
    @property
    def zeros(self) -> Node | None: ...
    @property
    def bias(self) -> Node | None: ...
    @property
    def residual(self) -> Node | None: ...

    def parts(self) -> list[tuple[Node, Node | None, Node | None]]:
        """Return weight, scales and zeros of each of the linears."""

    def bias_values(self) -> torch.Tensor | None:
        """Return the bias itself."""

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """Put a call before the linear and return it."""

    def store(self, name: str, value: torch.Tensor) -> Node:
        """Store a tensor beside the weight, under the path of the weight with `_name` behind, and return its node."""

    def behind(self, node: Node) -> Node:
        """Put the activation function and the residual behind `node`, as calls of their own, and return the last."""

    def rounded(self, dtype: torch.dtype) -> tuple[Node, Node]:
        """Return the nodes of x in int8 or float8_e4m3fn and of its scales, shared by all that read x so."""


@dataclass(frozen=True)
class Kernel:
    """A way to calculate linears on a GPU.

    Attributes:
        name: in kebab case, as reports name it.
        refuses: why it does not take a linear; None where it does.
        cost: microseconds that a linear is predicted to take on a device; see `Device.microseconds`.
        build: puts the calls in, and returns the node of the result [..., outputs], with bias, activation and residual.
        priority: of kernels that are predicted equally fast the one with the highest is taken.
        gated: it takes linears of which one gates the other too, see `Linear.gated`; others are never offered these.
    """

    name: str
    refuses: Callable[[Linear], str | None]
    cost: Callable[[Linear, Device], float]
    build: Callable[[Linear, Site], Node]
    priority: int = 0
    gated: bool = False


def check_kernel(kernel: Any) -> Kernel:
    """Return `kernel` where it keeps the contract.

    Raises:
        PipelineError: it is no kernel, or a part of it is wrong, with what to mend.
    """
    if not isinstance(kernel, Kernel):
        raise PipelineError(f"{kernel!r} is no kernel", hint="give  fxc.Kernel(name, refuses, cost, build)")
    if not _NAME.fullmatch(kernel.name):
        raise PipelineError(f"kernel name {kernel.name!r} is not in kebab case", hint='name it like  "sparse-24"')
    for part in ("refuses", "cost", "build"):
        if not callable(getattr(kernel, part)):
            raise PipelineError(f"kernel {kernel.name!r} has a {part} that cannot be called", hint="give a function")
    return kernel
