"""Entropy coders: bytes against the entropy, and how fast; saving and loading large states.

    python benchmarks/coding.py --json benchmarks/results/coding.json

Symbols are u8, normal around 0 with a standard deviation of 4, numbered 0, -1, 1, -2, 2 ... so that zero is the first;
of the sparse ones so many are zeros. MB/s are those of the bare symbols, by CPU time of one thread, the best of several
runs. `--model FILE.fxc` codes the tensors of one byte an element of artifacts too. Then a state of `--state` megabytes
(layers of float32) is saved and loaded in processes of its own: `peak` is the most memory that the process took beyond
what it had before there was a state, in states; a process that saves holds the state already.

Peers that are installed take part: zstandard, constriction, simple-ans, nncodec (its arithmetic coder alone).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from entropy.peers import Contender, Symbols, contenders
from tabulate import tabulate

from fxcompress.coding import entropy_bytes
from fxcompress.coding.adaptive.coder import MOST_ELEMENTS
from fxcompress.reporting import processor

PEERS = ("zstandard", "constriction", "simple-ans", "nncodec")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1400, help="symbols are a square of so many")
    parser.add_argument("--times", type=int, default=3, help="runs, of which the best counts")
    parser.add_argument("--model", type=Path, action="append", default=[], help="an artifact whose tensors to code")
    parser.add_argument("--state", type=int, default=500, help="megabytes to save and load; 0 for none")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, symbols in [*synthetic(given.side), *of_models(given.model)]:
        rows += coded(name, symbols, given.times)
        show([row for row in rows if row["symbols"] == name])
    states = list(saved_and_loaded(given.state)) if given.state else []
    print(tabulate(states, headers="keys", floatfmt=".2f"))
    if given.json:
        given.json.write_text(json.dumps({"environment": environment(), "coders": rows, "states": states}, indent=1))
    return 0


def synthetic(side: int) -> Iterator[tuple[str, Symbols]]:
    chance = np.random.default_rng(0)
    for name, density in (("dense", 1.0), ("90% zeros", 0.1), ("95% zeros", 0.05), ("98% zeros", 0.02)):
        drawn = np.rint(chance.normal(0, 4, (side, side))).astype(int)
        folded = np.where(drawn < 0, -2 * drawn - 1, 2 * drawn)
        yield name, np.where(chance.random((side, side)) < density, folded, 0).astype(np.uint8)


def of_models(paths: list[Path]) -> Iterator[tuple[str, Symbols]]:
    from fxcompress.targets import load_artifact

    for path in paths:
        for name, tensor in load_artifact(path).module.state_dict().items():
            if tensor.element_size() == 1 and tensor.ndim > 1:
                content = tensor.reshape(tensor.shape[0], -1).contiguous().numpy()
                yield f"{path.stem} {name}", content.view(np.uint8)


def coded(name: str, symbols: Symbols, times: int) -> Iterator[dict[str, Any]]:
    entropy = entropy_bytes(symbols.reshape(-1))
    for label, contender in contenders().items():
        if label == "fxcompress adaptive" and symbols.size > MOST_ELEMENTS:
            continue
        size, encode, decode = timed(contender, symbols, times)
        yield {
            "symbols": name,
            "coder": label,
            "bits": 8 * size / symbols.size,
            "to_entropy": size / entropy,
            "encode_mb_s": symbols.size / encode / 1e6,
            "decode_mb_s": symbols.size / decode / 1e6,
        }


def timed(contender: Contender, symbols: Symbols, times: int) -> tuple[int, float, float]:
    """Return bytes, and seconds of encoding and decoding."""
    encode, decode = [], []
    for _ in range(times):
        begin = time.process_time()
        data, size = contender.encode(symbols)
        middle = time.process_time()
        back = contender.decode(data, symbols.shape)
        encode.append(middle - begin)
        decode.append(time.process_time() - middle)
        assert (back == symbols).all()
    return size, max(min(encode), 1e-9), max(min(decode), 1e-9)


def show(rows: list[dict[str, Any]]) -> None:
    print(f"\n{rows[0]['symbols']}")
    table = [(r["coder"], r["bits"], r["to_entropy"], r["encode_mb_s"], r["decode_mb_s"]) for r in rows]
    headers = ("coder", "bits", "to entropy", "encode MB/s", "decode MB/s")
    print(tabulate(table, headers=headers, floatfmt=("", ".3f", ".3f", ".1f", ".1f")), flush=True)


def saved_and_loaded(megabytes: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        for coding in ("none", "auto"):
            file = f"{folder}/{coding}.fxc"
            for words in (["save", file, coding, str(megabytes)], ["load", file]):
                done = subprocess.run(
                    [sys.executable, "-m", "entropy.states", *words],
                    cwd=Path(__file__).parent,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                yield {"coding": coding, "what": words[0], **json.loads(done.stdout)}


def environment() -> dict[str, str]:
    found = {"processor": processor(), "numpy": np.__version__}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    sys.exit(main())
