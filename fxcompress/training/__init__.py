"""The ordinary training loop, as passes need it: deterministic, and resumable to the bit."""

from fxcompress.training.checkpoint import Checkpoint as Checkpoint
from fxcompress.training.loop import Around as Around
from fxcompress.training.loop import train as train
from fxcompress.training.objective import Objective as Objective
from fxcompress.training.once import train_once as train_once
from fxcompress.training.progress import Progress as Progress
from fxcompress.training.settings import Settings as Settings
