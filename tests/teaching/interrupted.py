"""A capture that kills its own process, without a word, when so many batches are through.

python interrupted.py FOLDER BATCHES
"""

from __future__ import annotations

import os
import signal
import sys

from captures import batches_of, images
from nets import pictures

import fxcompress as fxc


class Killed:
    """Batches that end in a kill."""

    def __init__(self, batches, count):
        self.batches = batches
        self.count = count

    def __iter__(self):
        for index, batch in enumerate(self.batches):
            if index == self.count:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


if __name__ == "__main__":
    folder, count = sys.argv[1], int(sys.argv[2])
    model, inputs = pictures()
    data = fxc.TrainingData(Killed(batches_of(images(4000), 100), count), None)
    fxc.compress(model, inputs, f"capture-teacher{{sink=disk to={folder} shard=1 taps=layers.1}}", train=data)
