"""Random layers with int8 weights, and how far a result is from what it should be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

BACKENDS = ("native", "onednn", "fbgemm", "int_mm", "float")


@dataclass
class Layer:
    """A linear with int8 weights."""

    weight: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    @property
    def floats(self) -> torch.Tensor:
        return self.weight.double() * self.scales.double()[:, None]

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """The layer in float64."""
        made = values.double() @ self.floats.t()
        return made if self.bias is None else made + self.bias.double()


def layer(outputs: int, features: int, biased: bool = True) -> Layer:
    weight = torch.randint(-127, 128, (outputs, features), dtype=torch.int8)
    return Layer(weight, torch.rand(outputs) / 64 + 1e-4, torch.randn(outputs) if biased else None)


def operands(layers: list[Layer]) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor | None]]:
    return [one.weight for one in layers], [one.scales for one in layers], [one.bias for one in layers]


@st.composite
def problems(draw) -> tuple[torch.Tensor, list[Layer]]:
    """An input of one to three axes, of any scale and offset, and one to three layers that read it."""
    torch.manual_seed(draw(st.integers(0, 999)))
    features = draw(st.sampled_from([1, 2, 3, 7, 16, 33, 64, 130]))
    shape = draw(st.sampled_from([(1,), (2,), (5,), (17,), (2, 3), (1, 1), (2, 2, 3)]))
    values = torch.randn(*shape, features) * draw(st.sampled_from([1e-3, 1.0, 30.0])) + draw(
        st.sampled_from([0.0, 2.0])
    )
    layers = [
        layer(draw(st.sampled_from([1, 3, 16, 40])), features, draw(st.booleans()))
        for _ in range(draw(st.integers(1, 3)))
    ]
    return values, layers


def close(result: torch.Tensor, want: torch.Tensor, values: torch.Tensor, layers: list[Layer], share: float) -> bool:
    """Whether `result` is off by no more than `share` of the largest sum of magnitudes that a product can have."""
    largest = max(float((values.double().abs() @ one.floats.abs().t()).max()) for one in layers)
    bias = max((float(one.bias.detach().abs().max()) for one in layers if one.bias is not None), default=0.0)
    assert result.dtype == torch.float32
    assert result.shape == want.shape
    return float((result.double() - want).abs().max()) <= share * (largest + bias) + 1e-7
