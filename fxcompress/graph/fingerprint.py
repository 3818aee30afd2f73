"""A digest of a module: equal where graph and tensors are, so that a step knows whether it changed anything."""

from __future__ import annotations

import hashlib

import torch
from torch.fx import GraphModule

from fxcompress.graph.tensors import named_tensors


def fingerprint(module: GraphModule) -> str:
    """Return a SHA-256 over the graph and over every parameter and buffer with its name."""
    digest = hashlib.sha256(graph_digest(module).encode())
    digest.update(repr(sorted(tensor_digests(module).items())).encode())
    return digest.hexdigest()


def graph_digest(module: GraphModule) -> str:
    """Return a SHA-256 over the nodes of the graph: operations, names, targets, arguments."""
    digest = hashlib.sha256()
    for node in module.graph.nodes:
        arguments = (node.op, node.name, node._pretty_print_target(node.target), node.args, node.kwargs)
        digest.update(repr(arguments).encode())
    return digest.hexdigest()


def tensor_digests(module: GraphModule) -> dict[str, str]:
    """Return the digest of every parameter and buffer by its name; a tied tensor is read once."""
    known: dict[int, str] = {}
    digests = {}
    for path, tensor in named_tensors(module):
        if id(tensor) not in known:
            known[id(tensor)] = tensor_digest(tensor)
        digests[path] = known[id(tensor)]
    return digests


def tensor_digest(tensor: torch.Tensor) -> str:
    """Return a SHA-256 over dtype, shape and the bytes of `tensor` in row-major order."""
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of `tensor` in row-major order; no copy where it lies so in the CPU's memory."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
