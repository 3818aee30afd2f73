"""A capture that kills its own process, without a word, when so many batches are through and a shard is written.

python interrupted.py FOLDER BATCHES
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from captures import batches_of, images
from taught_nets import pictures

import fxcompress as fxc
from fxcompress.teaching.manifest import Manifest


class Killed:
    """Batches that end in a kill."""

    def __init__(self, batches, count, folder):
        self.batches = batches
        self.count = count
        self.folder = folder

    def __iter__(self):
        for index, batch in enumerate(self.batches):
            if index == self.count:
                # Shards are written beside the teacher's work, and may take their time on a busy machine.
                while not Manifest.read(self.folder).shards:
                    time.sleep(0.02)
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    model, inputs = pictures()
    data = fxc.TrainingData(Killed(batches_of(images(4000), 100), count, folder), None)
    fxc.compress(model, inputs, f"capture-teacher{{sink=disk to={folder} shard=1 taps=layers.1}}", train=data)
