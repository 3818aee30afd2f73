"""The parameters and buffers of a module as a table, and a module made from one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from fxcompress.errors import ArtifactError
from fxcompress.targets.json_text import checked, record, short
from fxcompress.targets.names import tensor_path

MAX_WORDS = 64


def encode_tensors(module: nn.Module) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Return a row for every path of a parameter or buffer, in the order of `state_dict`, and the tensors to store.

    A tensor that is held under several paths is stored once; so is memory that several tensors show in the same way.
    """
    rows: list[dict[str, Any]] = []
    stored: dict[str, torch.Tensor] = {}
    objects: dict[int, str] = {}
    memories: dict[tuple[Any, ...], str] = {}
    for path, tensor, persistent in _held(module):
        tensor_path(path, "the tensor")
        if id(tensor) in objects:
            rows.append({"path": path, "same_as": objects[id(tensor)], "persistent": persistent})
            continue
        objects[id(tensor)] = path
        payload = memories.setdefault(_memory(tensor), path)
        stored.setdefault(payload, tensor)
        rows.append(
            {
                "path": path,
                "payload": payload,
                "parameter": isinstance(tensor, nn.Parameter),
                "requires_grad": tensor.requires_grad,
                "persistent": persistent,
            }
        )
    return rows, stored


def _held(module: nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Yield path, tensor and whether it is in the state, for every path of every parameter and buffer."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        for name, tensor in [*part._parameters.items(), *part._buffers.items()]:
            if tensor is not None:
                yield f"{prefix}.{name}" if prefix else name, tensor, name not in part._non_persistent_buffers_set


def _memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return what two tensors have in common that show the same memory in the same way."""
    if tensor.layout != torch.strided or tensor.numel() == 0 or tensor.device.type == "meta":
        return (id(tensor),)
    place = tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
    return (*place, tensor.is_conj(), tensor.is_neg())


def decode_tensors(rows: Any, stored: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return a plain module that holds the tensors of a table under their paths.

    Raises:
        ArtifactError: a path that no module can have, that is given twice, or that stands in the way of another.
    """
    builder = _Builder(2 * len(checked(rows, list, "the tensors")) + 1_000)
    for row in rows:
        path = checked(checked(row, dict, "a tensor").get("path"), str, "the path of a tensor")
        if "same_as" in row:
            fields = record(row, "a tensor", _TIED)
            tensor = builder.tensors.get(fields["same_as"])
            if tensor is None:
                raise ArtifactError(f"the tensor {short(path)} is the same as one that is not there")
        else:
            fields = record(row, "a tensor", _ROW)
            tensor = _tensor(fields, stored)
        builder.add(tensor_path(path, "the tensor"), tensor, fields["persistent"])
    return builder.root


_TIED: dict[str, type] = {"path": str, "same_as": str, "persistent": bool}
_ROW: dict[str, type] = {"path": str, "payload": str, "parameter": bool, "requires_grad": bool, "persistent": bool}


def _tensor(fields: dict[str, Any], stored: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if fields["payload"] not in stored:
        raise ArtifactError(f"the tensor {short(fields['path'])} has no payload {short(fields['payload'])}")
    tensor = stored[fields["payload"]].detach()
    if fields["requires_grad"] and not (tensor.is_floating_point() or tensor.is_complex()):
        raise ArtifactError(f"the tensor {short(fields['path'])} is of whole numbers and can have no gradient")
    if fields["parameter"]:
        return nn.Parameter(tensor, requires_grad=fields["requires_grad"])
    return tensor.requires_grad_(fields["requires_grad"])


class _Builder:
    """Builds the module that holds the tensors.

    Args:
        most: of submodules, since a short path may ask for many.
    """

    def __init__(self, most: int) -> None:
        self.root = nn.Module()
        self.tensors: dict[str, torch.Tensor] = {}
        self._modules: dict[str, nn.Module] = {"": self.root}
        self._most = most

    def add(self, path: str, tensor: torch.Tensor, persistent: bool) -> None:
        prefix, _, last = path.rpartition(".")
        owner = self._module(prefix)
        if path in self.tensors or path in self._modules:
            raise ArtifactError(f"the tensor {short(path)} is given twice, or is called like a module")
        self.tensors[path] = tensor
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(last, tensor)
        else:
            owner.register_buffer(last, tensor, persistent=persistent)

    def _module(self, path: str) -> nn.Module:
        if path in self._modules:
            return self._modules[path]
        if path in self.tensors:
            raise ArtifactError(f"{short(path)} is a tensor and a module")
        if len(self._modules) > self._most or path.count(".") >= MAX_WORDS:
            raise ArtifactError(f"the paths of the tensors ask for too many modules, such as {short(path)}")
        prefix, _, last = path.rpartition(".")
        made = self._modules[path] = nn.Module()
        self._module(prefix).add_module(last, made)
        return made
