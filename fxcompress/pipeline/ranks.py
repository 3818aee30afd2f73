"""Processes that share a run come to the same module after every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fxcompress.distributed import alike
from fxcompress.errors import ProcessesFailed, VerificationFailed
from fxcompress.graph.fingerprint import graph_digest, tensor_digests
from fxcompress.graph.module import CapturedModule
from fxcompress.pipeline.step import Step

_GRAPH = "the graph"


class SameOnAllRanks:
    """Fails a step after which the module of one process is other than that of another; stands outside Fingerprints."""

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        yield

        def differs(name: str, place: int) -> VerificationFailed:
            return VerificationFailed(
                f"{name} of rank {place} is other than that of rank 0",
                hint="a pass that draws at random takes context.generator(), and its data are the same on all ranks",
            )

        alike(digests_of(step.module, step.digests), differs)


def check_start(module: CapturedModule, pipeline: str, seed: int) -> None:
    """Meet the other processes at the beginning of a run.

    Raises:
        ProcessesFailed: another process has another model, pipeline or seed, or does not come.
    """

    def differs(name: str, place: int) -> ProcessesFailed:
        return ProcessesFailed(
            f"{name} of rank {place} is other than that of rank 0",
            hint="build the model alike on all ranks: load the same weights, or begin with torch.manual_seed(0)",
        )

    alike({"the pipeline": pipeline, "the seed": str(seed), **digests_of(module)}, differs)


def digests_of(module: CapturedModule, tensors: dict[str, str] | None = None) -> dict[str, str]:
    """Return the digests of graph and tensors, by what an error calls them."""
    found = tensor_digests(module) if tensors is None else tensors
    return {_GRAPH: graph_digest(module), **{f"tensor {path!r}": text for path, text in found.items()}}
