"""One plain pass over the training data, as passes that compress in steps make between two of these."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import GraphModule

from fxcompress.contract import PassContext, TrainingData
from fxcompress.training.loop import Around, train
from fxcompress.training.settings import Settings


def train_once(
    module: GraphModule,
    data: TrainingData,
    rate: float,
    seed: int,
    context: PassContext,
    look: Callable[[], None] = lambda: None,
) -> float:
    """Train `module` in place for one epoch with Adam at one rate; return the mean loss.

    Args:
        look: called before every step of the optimizer, when the gradients are there.

    Raises:
        PassFailed: as `train` raises it.
    """
    settings = Settings(epochs=1, optimizer="adam", lr=rate, schedule="constant")
    around = Around(say=lambda line: context.say(f"      {line}"), look=look)
    return train(module, data, settings, seed, around).losses[-1]
