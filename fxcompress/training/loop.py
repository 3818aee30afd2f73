"""The loop over epochs and batches. What happens in it depends on the seed alone, wherever it was interrupted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule

from fxcompress.contract import TrainingData
from fxcompress.distributed import (
    Slice,
    WholeBatch,
    begin_epoch,
    computed,
    from_first,
    gathered,
    is_first,
    of_first,
    slices,
    sum_gradients,
    world,
)
from fxcompress.errors import PassFailed
from fxcompress.training.checkpoint import Checkpoint, Saved, copied, put_back, tensors_of
from fxcompress.training.objective import Objective, Supervised
from fxcompress.training.progress import Progress
from fxcompress.training.randomness import State, global_state, own_state, restore_global, restore_own, seeded
from fxcompress.training.settings import Settings

Evaluate = Callable[[torch.nn.Module], float]


@dataclass(frozen=True)
class Around:
    """What a run is given beside the model, the data and its settings.

    Attributes:
        evaluate: callable(module) -> float, higher is better.
        checkpoint: where the run is saved, and goes on from.
        save_every: steps between two savings, beside those at the end of epochs.
        say: is given a line at the end of each epoch.
        look: called before every step of the optimizer, when the gradients are there.
    """

    evaluate: Evaluate | None = None
    checkpoint: Checkpoint | None = None
    save_every: int = 500
    say: Callable[[str], None] = lambda line: None
    look: Callable[[], None] = lambda: None


def train(
    module: GraphModule,
    data: TrainingData,
    settings: Settings,
    seed: int,
    around: Around,
    objective: Objective | None = None,
) -> Progress:
    """Train `module` in place and leave it in evaluation mode; return what was seen.

    What is made smaller is `objective`, by default the loss of the data.

    The global generators of torch, NumPy and Python begin with `seed` and are afterwards as they were.

    Where several processes share the work, each computes a slice of every batch, and the step is that of the whole
    batch. They save one state, and end with the same weights.

    Raises:
        PassFailed: there is nothing to learn, the data has no batches, or a loss is not finite.
    """
    run = _Run(module, data, settings, around, objective or Supervised(data))
    with seeded(seed):
        run.go_on()
        try:
            run.epochs()
        finally:
            module.zero_grad(set_to_none=True)
            module.eval()
    return run.progress


class _Run:
    """One run: the model, its optimizer, and how far it has come."""

    def __init__(
        self, module: GraphModule, data: TrainingData, settings: Settings, around: Around, objective: Objective
    ) -> None:
        self.module, self.data, self.settings, self.around = module, data, settings, around
        self.objective = objective
        self.parameters = [one for one in module.parameters() if one.requires_grad]
        if not self.parameters:
            raise PassFailed("no parameter of the model learns", hint="all of them have requires_grad=False")
        self.optimizer = settings.optimizer_for(self.parameters)
        self.steps = settings.epochs * batches_of(data, settings)
        self.progress = Progress()
        self.best: State = {}
        self.epoch_random: State = {}
        self.own: State = {}
        self.skip: State | None = None

    def go_on(self) -> None:
        """Take up where the checkpoint left off, where there is one."""
        saved = from_first(self.around.checkpoint.load) if self.around.checkpoint is not None else None
        if saved is None:
            return
        put_back(self.module, saved.model)
        self.optimizer.load_state_dict(saved.optimizer)
        self.progress, self.best = saved.progress, saved.best
        # The order of the epoch is drawn again from where it began; what was drawn since follows when it is skipped.
        restore_global(saved.epoch_random)
        restore_own(self.data.batches, saved.own)
        self.skip = saved.random

    def epochs(self) -> None:
        while not self.progress.finished:
            self.epoch()
            self.progress.finished = self._is_over()
            if self.progress.finished and self.settings.best and self.best:
                put_back(self.module, self.best)
            self.epoch_random, self.own = global_state(), own_state(self.data.batches)
            self.save()

    def epoch(self) -> None:
        """Train for one epoch, or for what is left of it."""
        self.module.train()
        for piece in self._batches():
            self.step(piece)
            if self.progress.steps % self.around.save_every == 0:
                self.save()
        done = self.progress
        if not done.batch:
            raise PassFailed(
                f"the training data has no batches in epoch {done.epoch + 1}",
                hint="a generator runs once: give a list or a DataLoader",
            )
        done.losses.append(done.loss / done.batch)
        done.epoch, done.batch, done.loss = done.epoch + 1, 0, 0.0
        self._evaluate()
        self._say()

    def _batches(self) -> Iterator[Slice]:
        """Yield what is ours of the batches of an epoch that are not done yet."""
        now, self.skip = self.skip, None
        self.epoch_random, self.own = global_state(), own_state(self.data.batches)
        begin_epoch(self.data, self.progress.epoch)
        batches = slices(self.data, self.module)
        if now is not None and self.progress.batch:
            done = sum(1 for _ in itertools.islice(batches, self.progress.batch))
            if done < self.progress.batch:
                raise PassFailed("the training data has fewer batches than when the run was saved")
            restore_global(now)
        yield from batches

    def step(self, piece: Slice) -> None:
        """Take one step of the optimizer."""
        done = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(done.steps, self.steps)
        self.optimizer.zero_grad()
        with computed(piece):
            with autocast(self.parameters[0].device, self.settings):
                own = self._own_loss(piece)
            own.backward()
        number = float(sum_gradients(self.parameters, own))
        if not math.isfinite(number):
            where = f"step {done.steps + 1} (epoch {done.epoch + 1}, batch {done.batch + 1})"
            raise PassFailed(f"the loss is {number} at {where}", hint="try a smaller lr, warmup=0.1 or clip=1")
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        self.around.look()
        self.optimizer.step()
        done.loss += number
        done.batch, done.steps = done.batch + 1, done.steps + 1

    def _own_loss(self, piece: Slice) -> torch.Tensor:
        """Return what the slice of this process adds to the loss of the batch."""
        if piece.whole is not None and getattr(self.objective, "whole_batches", False):
            whole = WholeBatch(self.module)
            return self.objective.loss(whole, *piece.whole, self._share_done()) / world()  # type: ignore[arg-type]
        loss = self.objective.loss(self.module, piece.inputs, piece.targets, self._share_done())
        return loss if piece.share == 1 else loss * piece.share

    def _share_done(self) -> float:
        """Return the share of the training that is done; by epochs alone where batches are not counted."""
        done = self.progress
        return done.steps / self.steps if self.steps else done.epoch / max(1, self.settings.epochs)

    def _evaluate(self) -> None:
        if not self.settings.evaluates or self.around.evaluate is None:
            return
        self.module.eval()
        with torch.no_grad():
            self.progress.scores.append(of_first(float(self.around.evaluate(self.module))))
        if self.settings.best and self.progress.stale == 0:
            self.best = copied(tensors_of(self.module))

    def _is_over(self) -> bool:
        patience = self.settings.patience
        return self.progress.epoch >= self.settings.epochs or (patience is not None and self.progress.stale >= patience)

    def _say(self) -> None:
        done = self.progress
        score = f", evaluate {done.scores[-1]:.6g}" if done.scores else ""
        self.around.say(f"epoch {done.epoch} of {self.settings.epochs}: mean loss {done.losses[-1]:.4g}{score}")

    def save(self) -> None:
        if self.around.checkpoint is None or not is_first():
            return
        state, optimizer = tensors_of(self.module), self.optimizer.state_dict()
        self.around.checkpoint.save(
            Saved(self.progress, state, optimizer, global_state(), self.epoch_random, self.own, self.best)
        )


def batches_of(data: TrainingData, settings: Settings) -> int:
    """Return how many batches an epoch has, 0 where nobody needs to know.

    Raises:
        PassFailed: the schedule needs the number, and the data does not tell.
    """
    if isinstance(data.batches, Sized):
        return max(gathered(len(data.batches)))
    if settings.counts_steps:
        raise PassFailed(
            "the training data does not say how many batches it has, which the schedule needs to know",
            hint="give a list or a DataLoader, or schedule=constant",
        )
    return 0


def autocast(device: torch.device, settings: Settings) -> AbstractContextManager[Any]:
    """Return the context in which the forward pass is computed."""
    if settings.precision == "none":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
