"""The least time that a linear can take: that of its bytes, or that of its operations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """What a device does in a second.

    Attributes:
        bandwidth: bytes read.
        half: operations on 16 bits, a multiplication and an addition being two.
        eight: operations on 8 bits.
    """

    bandwidth: float
    half: float
    eight: float


@dataclass(frozen=True)
class Work:
    """What a linear [M, K] x [N, K]^T has to do.

    Attributes:
        bits: of a weight, with its share of a scale.
        kept: the share of the weights that is not zero.
        eight: whether products are of 8 bits by 8.
    """

    m: int
    n: int
    k: int
    bits: float = 16.0
    kept: float = 1.0
    eight: bool = False

    @property
    def bytes(self) -> float:
        """Bytes of weights, of the input and of the result, these of 16 bits."""
        return self.n * self.k * self.kept * self.bits / 8 + 2 * self.m * (self.n + self.k)

    @property
    def operations(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.m * self.n * self.k * self.kept

    def floor(self, rates: Rates) -> float:
        """Return the least microseconds."""
        return 1e6 * max(self.bytes / rates.bandwidth, self.operations / (rates.eight if self.eight else rates.half))
