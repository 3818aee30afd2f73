"""The tensors that a module gets from the compressed one: those of the same names, in the sizes of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from fxcompress.errors import WriteBackError
from fxcompress.graph.tensors import named_tensors, read_tensors
from fxcompress.pruning.removing.places import taken
from fxcompress.text import listing
from fxcompress.writing_back.saved import own_tensors

if TYPE_CHECKING:
    from fxcompress.compiler import Result
    from fxcompress.pruning.removing.places import Plan

Contents = dict[int, torch.Tensor]


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of `model` under all of their paths, those in plain attributes too."""
    return {
        f"{path}.{name}" if path else name: tensor
        for path, module in model.named_modules(remove_duplicate=False)
        for name, tensor in own_tensors(module).items()
    }


def contents_of(model: nn.Module, result: Result, plan: Plan) -> Contents:
    """Return what the tensors of `model` become, by their ids.

    Raises:
        WriteBackError: the model is not the one that was compressed, or a tensor has no counterpart in the result.
    """
    captured = dict(named_tensors(result.captured.module))
    made = dict(named_tensors(result.module))
    held = tensors_of(model)
    check_same_model(held, captured)
    read = read_tensors(result.captured.module)
    gone = [path for path in captured if path in held and path not in made and id(captured[path]) in read]
    if gone:
        raise WriteBackError(
            f"the compressed graph has no {listing(gone)}, which the model cannot do without",
            hint="leave out the passes that fold, drop or quantize tensors; prune and mask keep their names",
        )
    contents: Contents = {}
    for path, tensor in held.items():
        if path in captured and id(tensor) not in contents:
            contents[id(tensor)] = content(path, tensor, made.get(path), plan)
    return contents


def check_same_model(held: dict[str, torch.Tensor], captured: dict[str, torch.Tensor]) -> None:
    """Raise where a tensor of the model is another than when it was captured."""
    for path, before in captured.items():
        now = held.get(path)
        if now is not None and (now.shape, now.dtype) != (before.shape, before.dtype):
            raise WriteBackError(
                f"{path} is {list(now.shape)} of {now.dtype}, while it was {list(before.shape)} of {before.dtype} "
                "when the model was captured",
                hint="give the model that was compressed; it can be written back once",
            )
    lost = [path for path, before in captured.items() if isinstance(before, nn.Parameter) and path not in held]
    if lost:
        raise WriteBackError(f"the model has no {listing(lost)}", hint="give the model that was compressed")


def content(path: str, tensor: torch.Tensor, made: torch.Tensor | None, plan: Plan) -> torch.Tensor:
    """Return a fresh tensor: what the result has under `path`, or, where no node reads it, what the plan leaves."""
    left = taken(tensor.detach(), plan.get(path, {}))
    if made is None:
        return left.clone()
    if (made.shape, made.dtype) != (left.shape, left.dtype):
        raise WriteBackError(
            f"the compressed graph has {path} as {list(made.shape)} of {made.dtype}, and by the plan it is "
            f"{list(left.shape)} of {left.dtype}",
            hint="leave out the passes that change a tensor otherwise than prune does",
        )
    return made.detach().to(left.device, copy=True)


def put(model: nn.Module, contents: Contents) -> None:
    """Let the tensors of `model` have the memory of `contents`, and those that are not in it memory of their own.

    Gradients of tensors that change their size are dropped.
    """
    for tensor in {id(tensor): tensor for tensor in tensors_of(model).values()}.values():
        fresh = contents.get(id(tensor))
        resized = fresh is not None and fresh.shape != tensor.shape
        tensor.data = tensor.detach().clone() if fresh is None else fresh
        if resized and tensor.is_leaf and tensor.grad is not None:
            tensor.grad = None


def with_own_buffers(contents: Contents, model: nn.Module) -> Contents:
    """Return `contents` with buffers of their own, since a run may write into them."""
    buffers = {id(tensor) for tensor in tensors_of(model).values() if not isinstance(tensor, nn.Parameter)}
    return {key: tensor.clone() if key in buffers else tensor for key, tensor in contents.items()}
