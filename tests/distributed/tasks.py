"""What is done by one process and by several, to be compared: models, data, pipelines."""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn
from torch.nn import functional

import fxcompress as fxc
from fxcompress.calibration import OBSERVERS, calibrate

SIZES = (6, 6, 3, 6, 1)


class Net(nn.Module):
    """Convolutions, batch norm, a residual, linears."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inner, self.inner_norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.hidden, self.head = nn.Linear(8, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + torch.relu(self.inner_norm(self.inner(x)))
        return self.head(torch.relu(self.hidden(x.mean((2, 3)))))


def net(seed=3):
    torch.manual_seed(seed)
    model = Net()
    with torch.no_grad():
        model.norm.running_mean.normal_(), model.norm.running_var.uniform_(0.5, 2)
    return model.eval()


@functools.cache
def captured(seed=3, kind=torch.float32):
    """Captured once: that takes a second."""
    return fxc.capture(net(seed).to(kind), (images(kind=kind)[0],))


def images(sizes=SIZES, kind=torch.float32):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(size, 3, 7, 7, generator=generator).to(kind) for size in sizes]


def labelled(sizes=SIZES, kind=torch.float32):
    return [(x, x.mean((2, 3)).repeat(1, 2)[:, :5].argmax(1)) for x in images(sizes, kind)]


def observers():
    """The state of each observer on each convolution's input."""
    module = captured().module
    nodes = [node for node in module.graph.nodes if "relu" in node.name or "linear" in node.name]
    batches = [fxc.Inputs(x) for x in images()]
    found = {}
    for name, make in OBSERVERS.items():
        seen = calibrate(module, nodes, batches, lambda _, make=make: make())
        found[name] = {
            node.name: (one.parameters(0, 255, symmetric=False), getattr(one, "histogram", None), one.batches)
            for node, one in seen.items()
        }
    return found


def taught(folder, sizes=SIZES, batches=None, sharded=False):
    """What was captured of the network, and what answers from there; identical images are in two batches."""
    given = images(sizes) if batches is None else batches
    if batches is None:
        given[-1] = torch.cat([given[-1], given[0][:2]])
    data = fxc.TrainingData([(x, None) for x in given], sharded=sharded)
    sink = "memory" if folder is None else f"disk to={folder}"
    text = f"capture-teacher{{taps=output,inner|pool sink={sink}}}"
    stage = fxc.compress(captured(), None, text, train=data, diffs=False).stages[0]
    asked = fxc.Inputs(torch.cat(images(sizes)).flip(0))
    return {"statistics": stage.statistics, "answers": stage.details["teacher"].answers(asked), "notes": stage.notes}


def loss_with_label_smoothing(outputs, targets):
    return functional.cross_entropy(outputs, targets, label_smoothing=0.1)


def compressed(pipeline, **given):
    given = {"calibration": images(), "train": fxc.TrainingData(labelled(), loss_with_label_smoothing), **given}
    result = fxc.compress(captured(), None, pipeline, diffs=False, verify_run=False, seed=7, **given)
    return {
        "tensors": result.module.state_dict(),
        "details": [{name: stage.details.get(name) for name in KEPT} for stage in result.stages],
        "notes": [stage.notes for stage in result.stages],
    }


KEPT = ("sensitivity", "whole", "activations", "losses", "scores", "error", "kept")
EXACT = (
    "quantize{scheme=w8a8-static}",
    "quantize{scheme=w8a8-static observer=entropy}",
    "smooth{method=smoothquant}",
    "mask{sparsity=0.5 importance=wanda}",
)
CLOSE = (
    "quantize{scheme=w4a16 group=8 rounding=gptq samples=64}",
    "quantize{scheme=w4a16 group=8 rounding=learned samples=64}",
    "quantize{scheme=w8a8-static observer=moving-average bias_correction=true}",
    "quantize{scheme=w4a16 group=8 min_sqnr=18}",
    "mask{sparsity=0.5 importance=sparsegpt samples=64}",
    "smooth{method=awq}",
    "prune{ratio=0.5 importance=activation},reconstruct{samples=200}",
    "prune{ratio=0.5 importance=taylor}",
    "prune{ratio=0.5 steps=2 learning_rate=0.000001}",
    "drop-blocks{count=1}",
    "sensitivity{scheme=w4a16 group=8}",
    "finetune{epochs=2 optimizer=sgd lr=0.1 clip=0.5 best=true}",
    "mask{sparsity=0.5},finetune{epochs=1 optimizer=sgd lr=0.1}",
    "prune{ratio=0.5},distill{epochs=1 optimizer=sgd lr=0.1 losses=soft:0.9,hard:0.1}",
    "prune{ratio=0.5},distill{epochs=1 optimizer=sgd lr=0.1 losses=soft,hint,relational pairs=inner,hidden}",
)


def evaluate(module):
    x, y = labelled()[0]
    return -float(functional.cross_entropy(module(x), y))


def pipelines(some):
    return {text: compressed(text, evaluate=evaluate) for text in some}


def trained(sizes=SIZES, rows=None, **given):
    """Fine-tune in float64, so that another order of sums hardly shows."""
    data = fxc.TrainingData(labelled(sizes, torch.float64) if rows is None else rows, functional.cross_entropy, **given)
    text = "finetune{epochs=2 optimizer=sgd lr=0.1 momentum=0.5 schedule=constant clip=1}"
    result = fxc.compress(captured(kind=torch.float64), None, text, train=data, seed=7)
    return {"tensors": floats(result.module.state_dict()), "losses": result.stages[0].details["losses"]}


class Words(nn.Module):
    """Residual blocks between an embedding and a head that share their weight."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 16)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(3)
        )

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = x + block(x)
        return functional.linear(x.mean(1), self.embedding.weight)


@functools.cache
def captured_words():
    torch.manual_seed(3)
    return fxc.capture(Words().eval(), (torch.zeros(4, 5, dtype=torch.long),))


def rows_for(captured):
    """Three batches of six samples."""
    if captured is not captured_words():
        return labelled((6, 6, 6))
    generator = torch.Generator().manual_seed(5)
    tokens = [torch.randint(12, (6, 5), generator=generator) for _ in range(3)]
    return [(one, one[:, 0]) for one in tokens]


def trained_whole(captured):
    """What three steps make of a module in one process."""
    module = copy.deepcopy(captured.module).train()
    optimizer, losses = torch.optim.SGD(module.parameters(), 0.1), []
    for x, y in rows_for(captured):
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    results = module.eval()(rows_for(captured)[0][0]).detach()
    return {"losses": losses, "tensors": module.state_dict(), "results": results}


def floats(state):
    return {name: one for name, one in state.items() if one.is_floating_point()}


def trained_by_hand(sizes=SIZES, rows=None):
    """The same with plain torch, on whole batches."""
    model = copy.deepcopy(net().double()).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.5, nesterov=True)
    losses = []
    for _ in range(2):
        losses.append([])
        for x, y in labelled(sizes, torch.float64) if rows is None else rows:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
            optimizer.step()
            losses[-1].append(float(loss.detach()))
    return {"tensors": floats(model.state_dict()), "losses": [sum(row) / len(row) for row in losses]}
