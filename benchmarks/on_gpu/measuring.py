"""Measures linears and decoders, and makes records of what was found."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch

from on_gpu.contenders import Contender
from on_gpu.decoder import SCHEMES, Decoder, Sizes
from on_gpu.floors import Rates
from on_gpu.timing import COPIES, Timer

Record = dict[str, Any]
# Of the largest magnitude of the result: inputs of 8 bits with 3 of mantissa are off by that much.
ALLOWED = 0.06
REFERENCE = "cublas bf16"


def linears(
    shapes: Iterable[tuple[int, int]], counts: Iterable[int], ways: Any, timer: Timer, rates: Rates, device: str
) -> Iterator[Record]:
    """Yield what each way takes for weights of `shapes` (N, K) and for so many rows.

    Args:
        ways: returns contenders of M, N and K, the reference first.
    """
    counts = tuple(counts)
    for n, k in shapes:
        for m in counts:
            reference = None
            for contender in ways(m, n, k):
                found = {"m": m, "n": n, "k": k, "kernel": contender.name}
                found |= measured(contender, timer, rates, device)
                if contender.name == REFERENCE:
                    reference = found.get("microseconds")
                if reference and "microseconds" in found:
                    found["over_cublas"] = round(reference / found["microseconds"], 3)
                yield found


def measured(contender: Contender, timer: Timer, rates: Rates, device: str) -> Record:
    """Return the microseconds of a way that is right, and why there are none of one that is not or does not run."""
    work = contender.work
    floor = work.floor(rates)
    try:
        x = torch.randn(work.m, work.k, device=device, dtype=torch.bfloat16)
        made = [contender.make(work.n, work.k, device) for _ in range(COPIES)]
        want = x.float() @ made[0].wide().t()
        error = float((made[0].run(x).float() - want).abs().max() / want.abs().max())
        if not error <= ALLOWED:
            return {"floor": round(floor, 2), "error": round(error, 5), "failed": "the result is wrong"}
        taken = timer.microseconds([partial(linear.run, x) for linear in made])
    except Exception as problem:
        # Other packages raise what they like, and the others are to be measured all the same.
        return {"floor": round(floor, 2), "failed": f"{type(problem).__name__}: {str(problem)[:200]}"}
    finally:
        made = []
        _forget(device)
    return {
        "microseconds": round(taken, 3),
        "floor": round(floor, 3),
        "fraction": round(floor / taken, 3),
        "error": round(error, 5),
    }


def _forget(device: str) -> None:
    """Give memory back, which the next weights may need in one piece."""
    if device != "cpu":
        gc.collect()
        torch.cuda.empty_cache()


def decoders(batches: Iterable[int], sizes: Sizes, timer: Timer, device: str) -> Iterator[Record]:
    """Yield what a token takes in each scheme, for so many sequences at once."""
    for batch in batches:
        reference = None
        for scheme in SCHEMES:
            taken = _of_decoder(Decoder(sizes, scheme, batch, device), sizes, batch, timer, device)
            reference = reference or taken
            yield {
                "batch": batch,
                "scheme": scheme,
                "microseconds": round(taken, 2),
                "over_bf16": round(reference / taken, 3),
            }


def _of_decoder(decoder: Decoder, sizes: Sizes, batch: int, timer: Timer, device: str) -> float:
    x = torch.randn(batch, sizes.width, device=device, dtype=torch.bfloat16)
    made = decoder(x)
    assert made.isfinite().all(), "a decoder gave numbers that are not finite"
    # Its weights are many times what the cache holds.
    return timer.microseconds([lambda: decoder(x)])
