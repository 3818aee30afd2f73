"""Training between and behind the passes that lose something."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import GraphModule

from fxcompress.contract import PassContext, TrainingData
from fxcompress.errors import PassFailed
from fxcompress.passes.learning import Learning


@dataclass(frozen=True)
class Finetune(Learning):
    """Train the graph as it is, with the loss and the batches of `fxc.compress(..., train=fxc.TrainingData(...))`.

    What compresses stands in the graph and stays: masked weights stay zero, weights that share a value learn it
    together, fake quantization rounds in training as it does afterwards. Batch norms see the batches. All parameters
    learn that have `requires_grad`.

    The optimizers and gradient clipping are those of `torch`, `precision=bf16` its autocast. The `schedule` sets the
    rate of each step: from `lr` down to zero along a cosine or a line, or `lr` all the time; before that it rises for
    the share `warmup` of the steps. With `best`, the weights at the end are those that `evaluate` liked best at the end
    of an epoch; with `patience`, training stops after so many epochs without a better one.

    With `resume`, a folder, the state of training is saved there at the end of each epoch and every `save_every` steps,
    and a run that was killed goes on from the last of these when it is started again: with the same model, options and
    seed it ends with the same weights, bit for bit on the same machine. That holds where the order of batches and what
    is drawn for them come from the global generators of torch, NumPy and Python, or from a `generator` of the
    DataLoader. Several runs may share a folder: a file belongs to one model, setting and seed.

    `details`: `losses` has the mean loss of each epoch, `scores` what `evaluate` said at the end of each, `best_epoch`
    counts from 1.
    """

    name = "finetune"
    fidelity = "lossy"
    masks = "seen"

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        self.learn(module, context, labelled(context))
        return module


def labelled(context: PassContext) -> TrainingData:
    """Return the training data of the run.

    Raises:
        PassFailed: there is none.
    """
    if context.train is None:
        raise PassFailed(
            "fine-tuning needs training data", hint="give  fxc.compress(..., train=fxc.TrainingData(batches, loss))"
        )
    return context.train
