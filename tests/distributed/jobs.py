"""What the processes of a test do: `jobs.py JOB FOLDER WORDS...`; what they find goes to FOLDER/RANK.pt."""

from __future__ import annotations

import copy
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tasks
import torch
from torch import nn
from torch.nn import functional

import fxcompress as fxc
from fxcompress import distributed
from fxcompress.distributed.batch_norm import JoinedBatchNorm

JOBS = {}


def job(make):
    JOBS[make.__name__] = make
    return make


@job
def compare(folder, *_):
    """All that one process does too."""
    return {
        "observers": tasks.observers(),
        "pipelines": tasks.pipelines((*tasks.EXACT, *tasks.CLOSE)),
        "trained": tasks.trained(),
        "sharded": tasks.trained(rows=own_rows(), sharded=True),
        "norm": joined_norm(),
        "errors": errors(),
        "saved": saved(folder),
        "sharding": {name: sharding(tasks.captured_words() if name == "words" else tasks.captured()) for name in NETS},
    }


NETS = ("words", "images")


def sharding(captured):
    """Train a sharded module for three steps, each rank on its half of a batch."""
    rank, whole = distributed.rank(), sum(one.numel() for one in captured.module.parameters())
    module = distributed.shard(copy.deepcopy(captured.module))
    own = sum(one.to_local().numel() for one in module.parameters())
    optimizer, losses = torch.optim.SGD(module.train().parameters(), 0.1), []
    for x, y in tasks.rows_for(captured):
        half = slice(len(x) // 2 * rank, len(x) // 2 * (rank + 1))
        optimizer.zero_grad()
        with JoinedBatchNorm():
            loss = functional.cross_entropy(module(x[half]), y[half])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    module.load_state_dict(module.state_dict())
    made = distributed.whole_state(module)
    results = module.eval()(tasks.rows_for(captured)[0][0]).detach()
    return {"whole": whole, "own": own, "losses": losses, "tensors": made, "results": results}


@job
def some(folder, *_):
    """A part of it, for four processes."""
    return {
        "observers": tasks.observers(),
        "pipelines": tasks.pipelines((tasks.EXACT[0], tasks.CLOSE[0], "sensitivity{scheme=w4a16 group=8}")),
        "trained": tasks.trained(),
    }


def own_rows():
    """Batches of each rank's own: together they are those of `whole_rows`."""
    rank = distributed.rank()
    return [batch[rank] for batch in sharded_rows() if batch[rank] is not None]


def sharded_rows():
    """Three batches, cut unevenly; the second rank has one less."""
    first, second, third, *_ = tasks.labelled(kind=torch.float64)
    cut = [((x[:at], y[:at]), (x[at:], y[at:])) for (x, y), at in ((first, 2), (second, 3))]
    return [*cut, (third, None)]


def joined_norm():
    generator = torch.Generator().manual_seed(distributed.rank())
    given = torch.randn(2 + distributed.rank(), 4, 3, dtype=torch.float64, generator=generator).requires_grad_()
    norm = nn.BatchNorm1d(4, dtype=torch.float64)
    arguments = (norm.weight, norm.bias, norm.running_mean, norm.running_var, True, 0.1, 1e-5, False)
    with JoinedBatchNorm():
        out = torch.ops.aten.batch_norm.default(given, *arguments)
    out.pow(3).sum().backward()
    rows = (given, out, given.grad, norm.running_mean, norm.running_var, norm.weight.grad, norm.bias.grad)
    return [one.detach() for one in rows]


def errors():
    """What is raised, on every rank, for what is wrong on one of them."""
    last = distributed.rank() == distributed.world() - 1
    spoiled = tasks.images()
    spoiled[-1][0, 0, 0, 0] = torch.nan
    other = [x + last for x in tasks.images()]
    rows = [(x + last, y) for x, y in tasks.labelled()]
    given = {
        "nan": ("quantize{scheme=w8a8-static}", {"calibration": spoiled}),
        "other data": ("quantize{scheme=w8a8-static}", {"calibration": other}),
        "other rows": ("finetune", {"train": fxc.TrainingData(rows, functional.cross_entropy)}),
        "no rows": (
            "finetune",
            {"train": fxc.TrainingData([] if last else rows, functional.cross_entropy, None, True)},
        ),
        "other pass": ([Drifting()], {}),
        "other model": ("fold-bn", {}),
    }
    found = {}
    for name, (pipeline, data) in given.items():
        try:
            fxc.compress(tasks.captured(3 + last if name == "other model" else 3), None, pipeline, **data)
        except fxc.FxcompressError as error:
            found[name] = str(error)
    return found


@dataclass(frozen=True)
class Drifting(fxc.Pass):
    """A pass that does something else on every rank."""

    name = "drifting"
    fidelity = "lossy"

    def apply(self, module, context):
        with torch.no_grad():
            module.head.weight.mul_(1 + distributed.rank())
        return module


def saved(folder):
    """Both ranks save to files of their own: only the first one does."""
    result = fxc.compress(tasks.captured(), None, "fold-bn")
    result.save(Path(folder) / f"saved-by-{distributed.rank()}.fxc")
    with distributed.alone():
        by_itself = (distributed.world(), distributed.is_first())
    return {"said": by_itself, "shared": (distributed.world(), distributed.rank())}


@job
def dying(folder, victim, *_):
    """Train with `resume`; the rank `victim` dies in the third step."""
    steps = []

    def loss(outputs, targets):
        steps.append(time.monotonic())
        if len(steps) == 3 and str(distributed.rank()) == victim:
            os._exit(9)
        return functional.cross_entropy(outputs, targets)

    data = fxc.TrainingData(tasks.labelled(kind=torch.float64), loss)
    text = f"finetune{{epochs=3 optimizer=sgd lr=0.1 save_every=1 resume={folder}/state}}"
    try:
        result = fxc.compress(tasks.captured(kind=torch.float64), None, text, train=data, seed=7)
    except fxc.FxcompressError as error:
        return {"told": str(error), "seconds": time.monotonic() - steps[-1]}
    return {"tensors": result.module.state_dict(), "notes": result.stages[0].notes}


@job
def teaching(folder, *_):
    """Capture a teacher in turns: into a folder, into memory, of batches of each rank's own; then what goes wrong."""
    found = tasks.taught(f"{folder}/shared"), tasks.taught(None), tasks.taught(f"{folder}/again", sizes=(6, 6))
    again = tasks.taught(f"{folder}/again")
    mine = [images for number, images in enumerate(tasks.images()) if number % 2 == distributed.rank()]
    own = tasks.taught(f"{folder}/own", batches=mine, sharded=True)
    spoiled = tasks.images()
    if distributed.rank() == 1:
        spoiled[1] = spoiled[1] + 1
    told = []
    for text, batches in ((f"{folder}/shared/manifest.json", tasks.images()), (f"{folder}/spoiled", spoiled)):
        try:
            tasks.taught(text, batches=batches)
        except fxc.FxcompressError as error:
            told.append(str(error))
    return {"disk": found[0], "memory": found[1], "again": again, "own": own, "told": told}


if __name__ == "__main__":
    name, folder, *words = sys.argv[1:]
    torch.set_num_threads(1)
    with distributed.started(timeout=float(os.environ.get("TEST_TIMEOUT", "40"))):
        rank = distributed.rank()
        made = JOBS[name](folder, *words)
        torch.save(made, Path(folder) / f"{rank}.pt")
