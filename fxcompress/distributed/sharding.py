"""Models whose parameters are spread over processes, each of which holds a part: FSDP2 on a captured graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from fxcompress.distributed.cutting import NAME, Held, cut
from fxcompress.distributed.links import explained
from fxcompress.distributed.ranks import is_first
from fxcompress.errors import UsageError
from fxcompress.graph.module import CapturedModule

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_PREFIX = NAME.partition("{")[0]
_HELD = "held"


def shard(module: CapturedModule, mesh: DeviceMesh | None = None, **options: Any) -> torch.nn.Module:
    """Return a module that gives what `module` gives, of whose parameters each process holds its share.

    A captured graph has one forward; so it is cut behind every residual block into modules that run one after the
    other, and each is given to `torch.distributed.fsdp.fully_shard` (Zhao et al., PyTorch FSDP, 2023): it has its whole
    parameters while it runs, and not before and after. Students are trained like that, in a loop of one's own, and
    teachers that do not fit run like that. Make the optimizer behind it, of the parameters that it has then. Each
    process runs samples of its own; the gradients are the mean over the processes.

    The state dict has the names of `module`, with sharded tensors; see `whole_state`. `module` is used up: its tensors
    are freed when nothing refers to it any more.

    Args:
        mesh: which processes share the parameters; by default all, on CUDA where the parameters are there.
        options: further ones of `fully_shard`, such as `mp_policy` and `offload_policy`.

    Raises:
        UsageError: `torch.distributed` is not initialized, or a parameter is not of floats.
        ProcessesFailed: another process is gone.
    """
    # Not before they are needed: they take long to import.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not dist.is_initialized():
        raise UsageError("nothing to spread parameters over", hint="start with torchrun, in  distributed.started()")
    for path, parameter in module.named_parameters():
        if not parameter.is_floating_point():
            raise UsageError(f"{path} holds {parameter.dtype}: only floats are sharded", hint="shard before quantize")
    made = Held(cut(module))
    if mesh is None:
        device = next((one.device.type for one in made.parameters()), "cpu")
        mesh = init_device_mesh(device, (dist.get_world_size(),))
    with explained("sharding the parameters"):
        for part in made.held.children():
            if isinstance(part, Held) and any(True for _ in part.parameters()):
                fully_shard(part, mesh=mesh, **options)
        fully_shard(made, mesh=mesh, **options)
    made.register_state_dict_post_hook(_without_parts)
    made.register_load_state_dict_pre_hook(_with_parts)
    return made


def whole_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict of a sharded module with whole tensors on the CPU, on rank 0; an empty one elsewhere.

    All processes call it. A module that is as `module` was before it was sharded takes it: `load_state_dict`.
    """
    from torch.distributed.tensor import DTensor

    found: dict[str, torch.Tensor] = {}
    for name, tensor in module.state_dict().items():
        with explained("gathering the parameters"):
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if is_first():
            found[name] = whole.detach().cpu().clone()
    return found


def _plain(name: str) -> str:
    words = name.split(".")
    return ".".join(word for word in words if word != _HELD and not word.startswith(_PREFIX))


def _without_parts(_module: Any, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + _plain(name.removeprefix(prefix))] = state.pop(name)


def _with_parts(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, _tensor in (*module.named_parameters(), *module.named_buffers()):
        if prefix + _plain(name) in state:
            state[prefix + name] = state.pop(prefix + _plain(name))
