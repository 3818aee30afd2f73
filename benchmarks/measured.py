"""Writing what was measured: rows as JSON, with what a reader needs to place them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fxcompress.capturing import Inputs
from fxcompress.files import write_text
from fxcompress.reporting import environment

Row = dict[str, Any]


def command() -> str:
    """Return the command that is running, as it can be typed again."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def write_rows(path: Path | None, rows: Sequence[Row], **further: Any) -> None:
    """Write what is measured so far to `path`, where there is one, beside command, versions and device."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        device = {**environment(Inputs(torch.zeros(1))), "cores": str(os.cpu_count())}
        whole = {"command": command(), "environment": device, **further, "rows": list(rows)}
        write_text(path, json.dumps(whole, indent=1) + "\n")
