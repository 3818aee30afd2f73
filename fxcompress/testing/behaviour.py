"""The rules that a pass keeps when it runs. Each is a function that yields what it finds wrong with one trial."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from fxcompress.contract import Pass, statistics_of
from fxcompress.errors import ArtifactError, FxcompressError, StepFailed
from fxcompress.graph.fingerprint import fingerprint, tensor_digests
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.tensors import named_tensors, tensor_of
from fxcompress.pipeline import Pipeline
from fxcompress.pipeline.results import compared
from fxcompress.targets import load_artifact
from fxcompress.testing.data import digests, floating, global_seed, results, results_of, shuffled
from fxcompress.testing.trial import Trial, model_state
from fxcompress.text import listing

Rule = Callable[[Trial], Iterator[str]]

# What a graph raises that does not run; anything else is a fault of ours and shows itself.
DOES_NOT_RUN = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError)


def original_untouched(trial: Trial) -> Iterator[str]:
    """The model that was handed in has the bits, the modes and the results of before, and so has the data."""
    after = model_state(trial.example.model)
    before = trial.model_before
    changed = [name for name in (*before, *after) if before.get(name) != after.get(name)]
    if changed:
        yield f"the user's model is changed: {listing(list(dict.fromkeys(changed)))}"
    elif digests(results(trial.example.model, trial.inputs)) != digests(trial.results_before):
        yield "the user's model gives other results than before"
    if trial.data_digests() != trial.data_before:
        yield "it changed the inputs, the calibration data or the training data"


def statistics(trial: Trial) -> Iterator[str]:
    """Statistics are declared, and finite numbers."""
    declared = statistics_of(type(trial.a_pass))
    for name, number in trial.result.stages[0].statistics.items():
        if name not in declared:
            yield f"statistic {name!r} is not declared with fxc.statistic"
        elif isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
            yield f"statistic {name!r} is {number!r}, not a finite number: record an int or a float"


def no_state(trial: Trial) -> Iterator[str]:
    """The same object on the same model does the same again, and holds nothing but its options."""
    yield from differences(trial, trial.a_pass, "the same object, run again on the same model, gives", "it keeps state")
    fields = set(trial.a_pass.__dataclass_fields__)
    kept = [name for name in vars(trial.a_pass) if name not in fields and not is_cached(trial.a_pass, name)]
    if kept:
        yield f"the run left {listing(kept)} on the pass"


def is_cached(a_pass: Pass, name: str) -> bool:
    """Whether an attribute is a cached property: computed from the options alone, it is no state."""
    return isinstance(getattr(type(a_pass), name, None), cached_property)


def equal_passes(trial: Trial) -> Iterator[str]:
    """Another object that is read from the text does the same."""
    (other,) = Pipeline.parse(str(trial.a_pass), trial.plugins)
    yield from differences(trial, other, "another object of the same text gives", "the options must say all")


def seeded(trial: Trial) -> Iterator[str]:
    """The run's seed, and not the state of the global generators, decides the result."""
    when, why = "with other global random numbers it gives", "draw them from context.generator()"
    yield from differences(trial, trial.a_pass, when, why, noise=2)


def differences(trial: Trial, a_pass: Pass, when: str, why: str, noise: int = 1) -> Iterator[str]:
    """Yield in what a repetition differs from the first run, in which it should not."""
    try:
        made = trial.repeat(a_pass, noise=noise)
    except StepFailed as error:
        yield f"{when} an error: {error.message}"
        return
    if fingerprint(trial.result.module) != fingerprint(made.module):
        before, after = tensor_digests(trial.result.module), tensor_digests(made.module)
        changed = [name for name in (*before, *after) if before.get(name) != after.get(name)]
        what = listing(list(dict.fromkeys(changed))) or "in the graph"
        yield f"{when} another module ({what}): {why}"
    elif trial.result.stages[0].statistics != made.statistics:
        yield f"{when} other statistics: {why}"


def second_run(trial: Trial) -> Iterator[str]:
    """It runs on its own result, and verifies there."""
    try:
        trial.run(trial.a_pass, trial.result)
    except StepFailed as error:
        yield f"run on its own result it fails: {error.message}"


def other_inputs(trial: Trial) -> Iterator[str]:
    """Inputs that no run has seen, of another batch size where it is open, give what the original gives."""
    repeat = 2 if trial.result.captured.dynamic else 1
    inputs = shuffled(trial.inputs, trial.seed + 1000, repeat=repeat)
    want = results(trial.example.model, inputs)
    try:
        got = results_of(trial.result.module, inputs)
    except DOES_NOT_RUN as error:
        yield f"the result does not take {inputs.describe()}: {error}"
        return
    if len(want) != len(got):
        yield f"the result gives {len(got)} values for {len(want)} on other inputs"
        return
    for index, (wanted, given) in enumerate(zip(want, got, strict=True)):
        yield from (f"result {index} on other inputs {what}" for what in unlike(wanted, given, trial.a_pass.fidelity))


def unlike(want: Any, got: Any, fidelity: str) -> Iterator[str]:
    """Yield in what a result is not what `fidelity` promises."""
    if not isinstance(want, torch.Tensor) or not isinstance(got, torch.Tensor):
        if type(want) is not type(got) or (fidelity == "exact" and want != got):
            yield f"is {got!r}, not {want!r}"
        return
    if (want.shape, want.dtype) != (got.shape, got.dtype):
        yield f"is of {got.dtype} {tuple(got.shape)}, not of {want.dtype} {tuple(want.shape)}"
    elif want.numel():
        if (torch.isfinite(want) & ~torch.isfinite(got)).any():
            yield "is not finite any more"
        difference, allowed = compared(want, got, fidelity)
        if difference > allowed:
            yield f"differs by {difference:.2e} from the original's, an {fidelity} pass may by {allowed:.2e}"


def trains(trial: Trial) -> Iterator[str]:
    """The result takes `train()`, gives gradients to the parameters that had some, and comes back with `eval()`."""
    module = copy.deepcopy(trial.result.module)
    before = digests(results_of(module, trial.inputs))
    module.train()
    if not module.training:
        yield "train() does not put the result into training mode"
    module.eval()
    if digests(results_of(module, trial.inputs)) != before:
        yield "after train() and eval() the result gives something else"
    had = with_gradient(trial.result.captured.module, trial)
    try:
        have = with_gradient(trial.result.module, trial)
    except DOES_NOT_RUN as error:
        yield f"the result does not train: {type(error).__name__}: {error}"
        return
    read = read_parameters(trial.result.module)
    lost = sorted(name for name in had & read if name not in have)
    if lost:
        yield f"these parameters get no gradient any more: {listing(lost)}"


def with_gradient(module: CapturedModule, trial: Trial) -> set[str]:
    """Return the names of the parameters that a copy of `module` in training mode gives a gradient to."""
    module = copy.deepcopy(module)
    module.train()
    with global_seed(1), torch.enable_grad():
        outputs = trial.inputs.map_tensors(torch.clone).call(module)
        differentiable = [tensor for tensor in floating(pytree.tree_leaves(outputs)) if tensor.requires_grad]
        losses = [tensor.abs().square().mean() for tensor in differentiable]
        if losses:
            torch.stack(losses).sum().backward()
    return {name for name, parameter in module.named_parameters(remove_duplicate=False) if parameter.grad is not None}


def read_parameters(module: GraphModule) -> set[str]:
    """Return the names of the trainable parameters that the graph reads."""
    read = {id(tensor_of(module, node)) for node in module.graph.find_nodes(op="get_attr")}
    return {name for name, tensor in named_tensors(module) if id(tensor) in read and tensor.requires_grad}


def saved_and_loaded(trial: Trial) -> Iterator[str]:
    """What is saved and loaded gives the same results to the bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.fxc"
        try:
            trial.result.save(path)
            loaded = load_artifact(path).module
        except FxcompressError as error:
            what = "does not load" if isinstance(error, ArtifactError) and path.exists() else "cannot be saved"
            yield f"the result {what}: {error.message}"
            return
    if digests(results_of(loaded, trial.inputs)) != digests(results_of(trial.result.module, trial.inputs)):
        yield "the result gives something else after it was saved and loaded"


def deep_copied(trial: Trial) -> Iterator[str]:
    """A deep copy is the same module with tensors of its own."""
    module = trial.result.module
    copied = copy.deepcopy(module)
    if fingerprint(copied) != fingerprint(module):
        yield "a deep copy of the result is another module"
    if digests(results_of(copied, trial.inputs)) != digests(results_of(module, trial.inputs)):
        yield "a deep copy of the result gives something else"
    own = {tensor.data_ptr(): name for name, tensor in named_tensors(module) if tensor.numel()}
    shared = [own[tensor.data_ptr()] for _, tensor in named_tensors(copied) if tensor.data_ptr() in own]
    if shared:
        yield f"a deep copy of the result shares memory with it: {listing(shared)}"


RULES: dict[str, Rule] = {
    "statistics": statistics,
    "no state between runs": no_state,
    "equal passes do equal work": equal_passes,
    "randomness from the seed": seeded,
    "second run": second_run,
    "other inputs": other_inputs,
    "training": trains,
    "save and load": saved_and_loaded,
    "deep copy": deep_copied,
    # The last, after all runs.
    "the original is untouched": original_untouched,
}
