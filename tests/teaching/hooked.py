"""What forward hooks see of a module: the witness of taps."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch.utils import _pytree as pytree


def seen_by_hooks(model, inputs):
    """Return for every module path what each of its calls gave, as lists of tensors, copied at once."""
    seen = defaultdict(list)

    def hook_for(path):
        def hook(module, args, kwargs, result):
            seen[path].append([leaf.clone() for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)])

        return hook

    hooks = [
        module.register_forward_hook(hook_for(path), with_kwargs=True) for path, module in model.named_modules() if path
    ]
    with torch.no_grad():
        inputs.call(model)
    for hook in hooks:
        hook.remove()
    return dict(seen)
