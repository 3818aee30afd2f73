"""The pipelines that are compared, by network."""

from __future__ import annotations

ROUNDINGS = ("nearest", "gptq", "learned")
OBSERVERS = ("minmax", "moving-average", "percentile", "mse", "entropy")
NARROW = "schemes=*.?.output.dense:w8a8"


def by_bits(*schemes: str, front: str = "") -> list[str]:
    """Return every rounding of each scheme."""
    return [f"{front}quantize{{scheme={scheme} rounding={how}}}" for scheme in schemes for how in ROUNDINGS]


def static(front: str = "") -> list[str]:
    """Return a pipeline for each observer."""
    return [f"{front}quantize{{scheme=w8a8-static observer={one}}}" for one in OBSERVERS]


def smoothed(alpha: float) -> str:
    return f"smooth{{alpha={alpha} insert=true}},quantize{{scheme=w8a8-static {NARROW}}}"


def aware(scheme: str) -> str:
    return f"smooth{{method=awq scheme={scheme} insert=true}},quantize{{scheme={scheme}}}"


MINILM = [
    *by_bits("w4a16", "w3a16"),
    "quantize{scheme=w8a8}",
    f"quantize{{scheme=w8a8-static {NARROW}}}",
    *(smoothed(alpha) for alpha in (0.5, 0.7)),
    "quantize{scheme=w8a8-static outliers=token}",
    *static(),
    "quantize{scheme=w8a16}",
    *by_bits("w4a16 granularity=channel"),
    aware("w3a16"),
]
MNIST = [
    "quantize{scheme=w8a16}",
    "quantize{scheme=w8a8}",
    *static(),
    *by_bits("w3a16", "w2a16"),
    "quantize{scheme=w4a16 granularity=tensor}",
    "equalize,quantize{scheme=w4a16 granularity=tensor}",
    "quantize{scheme=w2a16 bias_correction=true}",
]
PITCH = [
    "quantize{scheme=w8a16}",
    "quantize{scheme=w8a8}",
    *static(),
    *by_bits("w3a16"),
    "quantize{scheme=w3a16 bias_correction=true}",
]
