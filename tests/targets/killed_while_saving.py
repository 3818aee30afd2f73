"""Saves two contents in turn in a child, kills the child at random moments, and loads: `FOLDER KILLS CODING`.

The parent has everything imported, so that a child is a fork that saves at once.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from fxcompress.capturing import capture
from fxcompress.targets import load_artifact, save_artifact


def main(folder: Path, kills: int, coding: str) -> None:
    torch.set_num_threads(1)
    # PyTorch's interpreter takes a lock of tqdm that processes share: killed with it, a child would stop the parent.
    tqdm.set_lock(threading.RLock())
    path = folder / "file.fxc"
    module = capture(nn.Linear(1000, 1000), (torch.zeros(2, 1000),), dynamic="none").module
    save_artifact(path, module, pipeline="first", coding=coding)
    chance = random.Random(0)
    counts = {"first": 0, "second": 0}
    writing = 0
    for _ in range(kills):
        kill_one(path, module, chance.uniform(0, 0.15), coding)
        loaded = load_artifact(path)
        assert torch.equal(loaded.module.weight, module.weight)
        counts[loaded.pipeline] += 1
        for partial in folder.glob(".*.partial"):
            writing += 1
            partial.unlink()
        assert [entry.name for entry in folder.iterdir()] == ["file.fxc"]
    total = sum(counts.values())
    first, second = counts.values()
    print(f"{total} loaded, {first} of the first, {second} of the second, {writing} killed while writing")


def kill_one(path: Path, module: nn.Module, seconds: float, coding: str) -> None:
    child = os.fork()
    if child == 0:
        try:
            while True:
                for pipeline in ("second", "first"):
                    save_artifact(path, module, pipeline=pipeline, coding=coding)
        except BaseException:  # noqa: BLE001  (a child must not go on in the parent's place)
            traceback.print_exc()
        os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
