"""What a pass is given beside the module: inputs, data, a seed, and a place for what it has to tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule, Node

import fxcompress.kernels  # noqa: F401  registers the operator of masks
from fxcompress.analysis.axes import Rule
from fxcompress.capturing import Inputs, as_inputs
from fxcompress.contract.kernels import Kernel
from fxcompress.errors import InputError, PassFailed, UsageError
from fxcompress.graph.nodes import is_call, scope
from fxcompress.text import matches, suggestion

_MASKED = torch.ops.fxcompress.masked


@dataclass(frozen=True)
class TrainingData:
    """What passes that learn need.

    Args:
        batches: any iterable of `(inputs, targets)`, started afresh for every epoch; inputs as `fxc.capture`
            takes them.
        loss: callable(outputs, targets) -> scalar tensor, the mean over the samples of the batch. A teacher may stand
            in for it.
        for_student: callable(*inputs) -> inputs, what the model that learns is given in place of them (smaller
            images, say); a teacher sees the inputs as they are.
        sharded: where several processes share the work, the batches of each are its own part of the data; otherwise all
            have the same batches, and fxcompress cuts them. A DataLoader with a DistributedSampler is known as sharded.
    """

    batches: Iterable[tuple[Any, Any]]
    loss: Callable[[Any, Any], torch.Tensor] | None = None
    for_student: Callable[..., Any] | None = None
    sharded: bool = False

    def seen_by_student(self, inputs: Inputs) -> Inputs:
        """Return the inputs of a batch for the model that learns.

        `for_student` is called as a model is, and gives a tensor or what else inputs are given as.
        """
        return inputs if self.for_student is None else as_inputs(inputs.call(self.for_student))

    def loss_of(self, module: torch.nn.Module, inputs: Inputs, targets: Any) -> torch.Tensor:
        """Return the loss of what `module` gives for the inputs of a batch.

        Raises:
            PassFailed: the data has no loss.
        """
        if self.loss is None:
            raise PassFailed(
                "the training data has no loss of outputs and targets", hint="give  fxc.TrainingData(batches, loss)"
            )
        return self.loss(self.seen_by_student(inputs).call(module), targets)


@dataclass(frozen=True)
class Resources:
    """What every step of a run shares, as `fxc.compress` was given it."""

    inputs: Inputs
    calibration: Iterable[Any] | None = None
    train: TrainingData | None = None
    evaluate: Callable[[torch.nn.Module], float] | None = None
    seed: int = 0
    original: torch.nn.Module | None = None
    axis_rules: Mapping[Any, Rule] = field(default_factory=dict)
    importances: Mapping[str, Any] = field(default_factory=dict)
    teacher: Any = None
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
    before: GraphModule | None = None
    say: Callable[[str], None] | None = None


@dataclass
class PassContext:
    """One step's view of the run: what it may read, and where it leaves what it has to tell.

    `masks` are those that were taken off while the pass runs, by the path of the weight: bool, true where it is kept.
    """

    resources: Resources
    declared: tuple[str, ...] = ()
    statistics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    masks: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def inputs(self) -> Inputs:
        return self.resources.inputs

    @property
    def train(self) -> TrainingData | None:
        return self.resources.train

    @property
    def seed(self) -> int:
        return self.resources.seed

    def generator(self) -> torch.Generator:
        """Return a CPU generator at the run's seed: the only source of randomness for a pass."""
        return torch.Generator().manual_seed(self.resources.seed)

    def calibration(self) -> Iterator[Inputs]:
        """Yield the calibration batches as inputs; the example inputs do not stand in for missing ones.

        Raises:
            InputError: no calibration data was given, or it has no batches (a used-up generator has none).
        """
        if self.resources.calibration is None:
            raise InputError("this pass needs calibration data", hint="give  fxc.compress(..., calibration=batches)")
        count = 0
        for batch in self.resources.calibration:
            count += 1
            yield as_inputs(batch)
        if count == 0:
            raise InputError(
                "the calibration data has no batches", hint="a generator runs once: give a list or a DataLoader"
            )

    def record(self, **numbers: float) -> None:
        """Add `numbers` to the statistics of this step.

        Raises:
            UsageError: a name that the pass did not declare with `fxc.statistic`.
        """
        for name, number in numbers.items():
            if name not in self.declared:
                raise UsageError(f"statistic {name!r} is not declared", hint=suggestion(name, self.declared))
            self.statistics[name] = self.statistics.get(name, 0) + number

    def say(self, line: str) -> None:
        """Tell whoever watches the run how far a long pass has come; nothing of it is kept."""
        if self.resources.say is not None:
            self.resources.say(line)

    def note(self, text: str) -> None:
        """Add a sentence to the report: what was left alone, and why."""
        if text not in self.notes:
            self.notes.append(text)

    def select(self, module: GraphModule, targets: tuple[str, ...], ignore: tuple[str, ...] = ()) -> list[Node]:
        """Return the calls that `targets` mean and `ignore` does not.

        A pattern is a module path (with all below it), a node's name, the path of a parameter that the node reads, or a
        glob of one of these; no patterns mean every call.

        Raises:
            PassFailed: a pattern that matches nothing, with the nearest name.
        """
        names = {node: names_of(node) for node in module.graph.nodes if node.op == "call_function"}
        known = {name for row in names.values() for name in row}
        for pattern in (*targets, *ignore):
            if not any(matches(pattern, name) for name in known):
                raise PassFailed(f"{pattern!r} matches no module, node or parameter", hint=suggestion(pattern, known))

        def meant(node: Node, patterns: tuple[str, ...]) -> bool:
            return any(matches(pattern, name) for pattern in patterns for name in names[node])

        return [node for node in names if (not targets or meant(node, targets)) and not meant(node, ignore)]


def names_of(node: Node) -> tuple[str, ...]:
    """Return every name under which a pattern may mean `node`: its scope, its own name, the parameters it reads.

    A parameter with a mask over it counts as read.
    """
    given = [source.args[0] if is_call(source, _MASKED) else source for source in node.all_input_nodes]
    read = [str(source.target) for source in given if isinstance(source, Node) and source.op == "get_attr"]
    return tuple(name for name in (scope(node), node.name, *read) if name)
