"""Tensors as bytes: which dtypes an artifact holds, and how safetensors names them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from fxcompress.errors import ArtifactError
from fxcompress.graph.fingerprint import tensor_bytes
from fxcompress.targets import arguments
from fxcompress.targets.frame_list import Frames, frames_from_json
from fxcompress.targets.json_text import checked, record, short

MAX_DIMENSIONS = 64

# Names of the safetensors format. A dtype that it lacks is stored as bytes; its name and shape stand in the document.
_SAFETENSORS = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e8m0fnu": "F8_E8M0",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "complex64": "C64",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}
_AS_BYTES = {"float8_e4m3fnuz", "float8_e5m2fnuz", "float4_e2m1fn_x2", "complex32", "complex128"}


@dataclass(frozen=True)
class Payload:
    """A tensor of the file: where it stands is given by the order of the payloads alone.

    Attributes:
        name: unique in the file.
        dtype: as PyTorch calls it.
        shape: sizes, in elements.
        sha256: of its bytes, hexadecimal; empty in a coded file, which has one hash for all.
        frames: coders and bytes, in a coded file; None in a plain one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    frames: Frames | None = None

    @property
    def itemsize(self) -> int:
        return int(arguments.DTYPES[self.dtype].itemsize)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.itemsize

    def header_entry(self, start: int) -> dict[str, Any]:
        """Return what the header of safetensors says of it when its bytes begin at `start`."""
        known = _SAFETENSORS.get(self.dtype)
        shape = list(self.shape) if known else [self.nbytes]
        return {"dtype": known or "U8", "shape": shape, "data_offsets": [start, start + self.nbytes]}

    def to_json(self) -> dict[str, Any]:
        fields = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        if self.frames is None:
            return {**fields, "sha256": self.sha256}
        return {**fields, "coded": [list(frame) for frame in self.frames]}


def payload_of(name: str, tensor: torch.Tensor) -> Payload:
    """Describe `tensor` as `describe` does, with the hash of its bytes."""
    return replace(describe(name, tensor), sha256=hashlib.sha256(bytes_of(tensor)).hexdigest())


def describe(name: str, tensor: torch.Tensor, frames: Frames | None = None) -> Payload:
    """Describe `tensor` without a look at its content; zeros stand for the hash, where there is one."""
    digest = "0" * 64 if frames is None else ""
    return Payload(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), digest, frames)


def plain_tensor(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor` on the CPU and without gradient; no copy is made where it is there.

    Raises:
        ArtifactError: a tensor without plain bytes: sparse, quantized, nested, fake.
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in _SAFETENSORS and dtype not in _AS_BYTES:
        raise ArtifactError(f"{name} has the dtype {dtype}, which an artifact does not hold", hint="convert it first")
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer) and tensor.layout == torch.strided
    if not plain or tensor.device.type == "meta" or tensor.is_nested:
        kind = f"{type(tensor).__name__} on {tensor.device} with layout {tensor.layout}"
        raise ArtifactError(
            f"{name} is no plain tensor with data ({kind})", hint="make it dense, or give it data, first"
        )
    return tensor.detach().cpu()


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor in row-major order, conjugation and negation carried out."""
    return tensor_bytes(tensor.detach().resolve_conj().resolve_neg())


def payload_from_json(value: Any, coded: bool = False) -> Payload:
    """Return the payload that `Payload.to_json` described; sizes are bounded but not compared with any file yet."""
    kind = list if coded else str
    fields = record(
        value, "a payload", {"name": str, "dtype": str, "shape": list, "coded" if coded else "sha256": kind}
    )
    name, dtype, sizes = fields["name"], fields["dtype"], fields["shape"]
    if dtype not in _SAFETENSORS and dtype not in _AS_BYTES:
        raise ArtifactError(f"the tensor {short(name)} has an unknown dtype {short(dtype)}")
    if len(sizes) > MAX_DIMENSIONS:
        raise ArtifactError(f"the tensor {short(name)} has {len(sizes)} dimensions; {MAX_DIMENSIONS} are allowed")
    for size in sizes:
        if checked(size, int, f"a size of the tensor {short(name)}") < 0:
            raise ArtifactError(f"the tensor {short(name)} has a negative size")
    # PyTorch computes strides from all sizes, so those beside a zero are bounded as well.
    if math.prod(size for size in sizes if size) >= 2**59:
        raise ArtifactError(f"the tensor {short(name)} has sizes beyond any memory")
    if coded:
        bare = Payload(name, dtype, tuple(sizes), "")
        return replace(bare, frames=frames_from_json(fields["coded"], name, bare.nbytes, bare.itemsize))
    return Payload(name, dtype, tuple(sizes), fields["sha256"])


def tensor_from(payload: Payload, content: torch.Tensor) -> torch.Tensor:
    """Return the tensor whose bytes are `content`, u8 of one dimension; no copy is made.

    Raises:
        ArtifactError: booleans that are neither zero nor one.
    """
    if payload.dtype == "bool" and bool((content > 1).any()):
        raise ArtifactError(f"the tensor {short(payload.name)} holds booleans that are neither true nor false")
    dtype = arguments.DTYPES[payload.dtype]
    if not payload.nbytes:
        return torch.empty(payload.shape, dtype=dtype)
    return content.view(dtype).reshape(payload.shape)
