"""Writing what was measured: JSON with what a reader needs to place it, and Markdown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fxcompress.capturing import Inputs
from fxcompress.files import write_text
from fxcompress.reporting import environment
from pruning.peer import peer_version

Row = dict[str, Any]


def command() -> str:
    """Return the command that is running, as it can be typed again."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def surroundings(inputs: Inputs) -> dict[str, str]:
    """Return versions, device, and threads."""
    return {**environment(inputs), "torch-pruning": peer_version(), "cores": str(os.cpu_count())}


def write_json(path: Path | None, inputs: Inputs, **content: Any) -> None:
    """Write `content` to `path`, where there is one, beside command, versions and device."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {"command": command(), "environment": surroundings(inputs), **content}
        write_text(path, json.dumps(whole, indent=1) + "\n")


def write_markdown(path: Path | None, title: str, words: str, headers: Sequence[str], cells: Sequence[Any]) -> None:
    """Write a section of a page to `path`, where there is one: title, words, command, table."""
    if path is not None:
        table = tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True)
        write_text(path, f"## {title}\n\n{words}\n\n```sh\n{command()}\n```\n\n{table}\n")


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
