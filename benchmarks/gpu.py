"""Kernels of quantized and sparse linears on a GPU, beside the least that they could take, cuBLAS and peers.

    python benchmarks/gpu.py --json benchmarks/results/gpu.json

For each weight and each number of rows: microseconds of a call as a CUDA graph replays it, with the weights rotated
through four copies so that the cache serves none; the least time (`floor`) by the bandwidth and the operations a second
that were measured at the start; `fraction`, the floor over the time; `over_cublas`, the time of cuBLAS in bfloat16 over
the time. A kernel whose result is wrong is not measured. Then a decoder in the shape of Llama, 8 layers of 4096 / 11008
with random weights, one token of 1, 16 and 256 sequences. Peers that are not installed are named with the reason.

torchao, gemlite and torch's `bsr_dense_addmm` are measured where they run; `--no-peers` leaves them out.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from measured import command
from on_gpu.contenders import Contender, contenders
from on_gpu.decoder import Sizes
from on_gpu.floors import Rates
from on_gpu.measuring import decoders, linears
from on_gpu.peers import peers
from on_gpu.timing import GraphTimer, rates_of_device

import fxcompress
from fxcompress.files import write_text

SHAPES = ((4096, 4096), (11008, 4096), (28672, 8192))
COUNTS = (1, 16, 64, 256, 4096)
BATCHES = (1, 16, 256)
# How many operations on 8 bits a GPU does in the time of one on 16, by its data sheet.
EIGHT_OVER_HALF = 2.0
PACKAGES = ("torch", "triton", "torchao", "gemlite")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write what is found there, after every measurement")
    parser.add_argument("--no-peers", action="store_true", help="leave out what other packages calculate")
    parser.add_argument("--only", choices=("linears", "decoder"), help="measure no more than these")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is there, and nothing else is measured here")
    measure(asked.json, not asked.no_peers, asked.only)


def measure(path: Path | None, with_peers: bool, only: str | None) -> None:
    """Measure everything, printing and writing as it comes."""
    timer = GraphTimer()
    bandwidth, half = rates_of_device(timer)
    document: dict[str, Any] = {
        "command": command(),
        **versions(),
        "bandwidth": bandwidth,
        "half": half,
        "linears": [],
        "decoder": [],
    }

    def ways(m: int, n: int, k: int) -> list[Contender]:
        return contenders(m, n, k) + (peers(m, n, k) if with_peers else [])

    rates = Rates(bandwidth, half, EIGHT_OVER_HALF * half)
    parts = {
        "linears": linears(SHAPES, COUNTS, ways, timer, rates, "cuda"),
        "decoder": decoders(BATCHES, Sizes(), timer, "cuda"),
    }
    for name, records in parts.items():
        if only not in (None, name):
            continue
        for record in records:
            print(json.dumps(record), flush=True)
            document[name].append(record)
            if path is not None:
                write_text(path, json.dumps(document, indent=1) + "\n")


def versions() -> dict[str, Any]:
    """Return the device and the versions of what is compared."""
    known = {}
    for package in PACKAGES:
        try:
            known[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            known[package] = "not installed"
    return {"device": torch.cuda.get_device_name(), "fxcompress": fxcompress.__version__, "versions": known}


if __name__ == "__main__":
    main()
