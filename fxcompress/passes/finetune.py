"""Training between and behind the passes that lose something."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, TrainingData, above, at_least, between, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.graph.fingerprint import fingerprint
from fxcompress.training import Around, Checkpoint, Settings, train


@dataclass(frozen=True)
class Finetune(Pass):
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
    epochs: int = option(1, help="passes over the training data", check=at_least(1))
    optimizer: Literal["sgd", "adam", "adamw"] = option("adamw", help="optimizer of torch.optim")
    lr: float = option(1e-3, help="largest rate", check=above(0))
    momentum: float = option(
        0.9, help="momentum of sgd (Nesterov's), first beta of adam and adamw", check=between(0, 1)
    )
    weight_decay: float = option(0.0, help="weight decay, as the optimizer has it", check=at_least(0))
    schedule: Literal["constant", "cosine", "linear"] = option("cosine", help="how the rate falls, to zero at the end")
    warmup: float = option(0.0, help="share of the steps in which the rate rises", check=between(0, 1))
    precision: Literal["none", "bf16"] = option("none", help="bf16: forward pass under torch.autocast")
    clip: float | None = option(None, help="largest norm of all gradients together", check=above(0))
    best: bool = option(False, help="end with the weights that evaluate liked best")
    patience: int | None = option(
        None, help="stop after so many epochs that evaluate likes no better", check=at_least(1)
    )
    resume: str | None = option(None, help="folder in which the state is saved, and from which a killed run goes on")
    save_every: int = option(500, help="steps between savings, where there is a folder", check=at_least(1))
    epochs_run = statistic("epochs trained")
    steps = statistic("steps of the optimizer")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        data, settings = self._data(context), self.settings
        if settings.evaluates and context.resources.evaluate is None:
            raise PassFailed(
                "best and patience need to know what is better", hint="give  fxc.compress(..., evaluate=f)"
            )
        checkpoint = self._checkpoint(module, context.seed)
        begun = checkpoint is not None and checkpoint.path.exists()
        around = Around(
            context.resources.evaluate, checkpoint, self.save_every, lambda line: context.say(f"      {line}")
        )
        done = train(module, data, settings, context.seed, around)
        context.record(epochs_run=done.epoch, steps=done.steps)
        context.details["losses"] = done.losses
        if done.scores:
            context.details |= {"scores": done.scores, "best_epoch": None if done.best is None else done.best + 1}
        self._tell(context, done.epoch, begun)
        return module

    @property
    def settings(self) -> Settings:
        """The options as the loop takes them."""
        return Settings(
            self.epochs,
            self.optimizer,
            self.lr,
            self.momentum,
            self.weight_decay,
            self.schedule,
            self.warmup,
            self.precision,
            self.clip,
            self.best,
            self.patience,
        )

    def _data(self, context: PassContext) -> TrainingData:
        if context.train is None:
            raise PassFailed(
                "fine-tuning needs training data", hint="give  fxc.compress(..., train=fxc.TrainingData(batches, loss))"
            )
        return context.train

    def _checkpoint(self, module: GraphModule, seed: int) -> Checkpoint | None:
        if self.resume is None:
            return None
        run = f"{fingerprint(module)} {self.settings} {seed}"
        return Checkpoint(Path(self.resume), hashlib.sha256(run.encode()).hexdigest())

    def _tell(self, context: PassContext, epochs: int, begun: bool) -> None:
        if begun:
            context.note(f"went on from what was saved in {self.resume}")
        if epochs < self.epochs:
            context.note(f"stopped after epoch {epochs} of {self.epochs}: {self.patience} without a better one")
