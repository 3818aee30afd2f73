"""What passes that train have in common: the options of the loop, and what is told of a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, TrainingData, above, at_least, between, option, statistic
from fxcompress.distributed import note_on_sharing
from fxcompress.errors import PassFailed
from fxcompress.graph.fingerprint import fingerprint
from fxcompress.training import Around, Checkpoint, Objective, Settings, train


@dataclass(frozen=True)
class Learning(Pass):
    """The base of passes that train with the loop of `fxcompress.training`."""

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

    @property
    def settings(self) -> Settings:
        """The options as the loop takes them."""
        return Settings(**{field.name: getattr(self, field.name) for field in fields(Settings)})

    def check_evaluate(self, context: PassContext) -> None:
        """Raise PassFailed where the options need to know what is better, and nobody says."""
        if self.settings.evaluates and context.resources.evaluate is None:
            raise PassFailed(
                "best and patience need to know what is better", hint="give  fxc.compress(..., evaluate=f)"
            )

    def learn(
        self,
        module: GraphModule,
        context: PassContext,
        data: TrainingData,
        objective: Objective | None = None,
        learner: GraphModule | None = None,
    ) -> None:
        """Train `module`, and leave in `context` what is to be told of it.

        Args:
            objective: what is made smaller; by default the loss of the data.
            learner: a module that shares the tensors of `module` and is trained in its place; `evaluate` sees `module`.
        """
        self.check_evaluate(context)
        evaluate = context.resources.evaluate
        learner = module if learner is None else learner
        checkpoint = self._checkpoint(learner, context.seed)
        begun = checkpoint is not None and checkpoint.path.exists()
        around = Around(
            None if evaluate is None else lambda _: evaluate(module),
            checkpoint,
            self.save_every,
            lambda line: context.say(f"      {line}"),
        )
        done = train(learner, data, self.settings, context.seed, around, objective)
        context.record(epochs_run=done.epoch, steps=done.steps)
        context.details["losses"] = done.losses
        if done.scores:
            context.details |= {"scores": done.scores, "best_epoch": None if done.best is None else done.best + 1}
        note_on_sharing(learner, data, context)
        self._tell(context, done.epoch, begun)

    def _checkpoint(self, module: GraphModule, seed: int) -> Checkpoint | None:
        if self.resume is None:
            return None
        run = f"{fingerprint(module)} {self.what_decides()} {seed}"
        return Checkpoint(Path(self.resume), hashlib.sha256(run.encode()).hexdigest())

    def what_decides(self) -> str:
        """Return as text all that decides how a run goes, beside model, data and seed."""
        return str(self.settings)

    def _tell(self, context: PassContext, epochs: int, begun: bool) -> None:
        if begun:
            context.note(f"went on from what was saved in {self.resume}")
        if epochs < self.epochs:
            context.note(f"stopped after epoch {epochs} of {self.epochs}: {self.patience} without a better one")
