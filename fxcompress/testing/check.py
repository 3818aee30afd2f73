"""`check_pass`: the conformance test for any pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch

from fxcompress.contract import Pass, TrainingData
from fxcompress.errors import PassFailed, PluginError, StepFailed, UsageError, VerificationFailed
from fxcompress.plugins import Plugins
from fxcompress.testing.behaviour import RULES, original_untouched
from fxcompress.testing.examples import Example, examples
from fxcompress.testing.options import variants
from fxcompress.testing.paper import documentation, registry_of, round_trip, validation
from fxcompress.testing.trial import Trial
from fxcompress.text import plural, suggestion


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What `check_pass` found of a pass that keeps the contract.

    Attributes:
        text: the pass as a pipeline spells it.
        tried: the other texts that read back as what they were printed from, one for each option.
        untried: the options for which no other legal value was found.
        changed: the examples on which the pass changed something; a test that proves something has some.
        unchanged: the examples that it left as they were.
        refused: the examples on which it raised PassFailed, as `allow` permitted, and why.
    """

    text: str
    tried: tuple[str, ...]
    untried: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    refused: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Fault:
    """A broken rule: which, what is wrong, and on which example."""

    rule: str
    text: str
    example: str | None = None

    def __str__(self) -> str:
        place = "" if self.example is None else f", on {self.example}"
        text = self.text.replace("\n", "\n      ")
        return f"  {self.rule}{place}:\n      {text}"


def check_pass(
    a_pass: Pass,
    models: Iterable[Example | tuple[torch.nn.Module, Any]] | None = None,
    *,
    calibration: Iterable[Any] | None = None,
    train: TrainingData | None = None,
    allow: Collection[str] = (),
    seed: int = 0,
) -> CheckReport:
    """Check that `a_pass` keeps the contract of passes, on paper and on models.

    On paper: the class rules, texts that read back (also with every option set to another legal value), options that
    refuse what is not of their type, help for options and statistics. On every model: the pass verifies; statistics are
    declared numbers; the same object run twice, an equal object, and other global random numbers give the same module;
    it runs on its own result; inputs that it has not seen, of another batch size, give what its fidelity promises; the
    result trains, saves, loads and deep-copies; the model and the data that were handed in are as they were.

    Args:
        models: `Example`s, or pairs of a model and example inputs, which are named `model-0`, `model-1`, ...; by
            default those of `fxc.testing.examples()`.
        calibration: batches for the models whose `Example` brings none; by default the inputs in another order.
        train: data for those that bring none; by default the model's own results.
        allow: names of models on which the pass may raise PassFailed.
        seed: of the runs and of the default models.

    Raises:
        AssertionError: lists every rule that the pass breaks, with what was found.
        UsageError: the call is wrong: no pass, or a name in `allow` that no model has.
    """
    if not isinstance(a_pass, Pass):
        raise UsageError(f"check_pass takes a pass, not {a_pass!r}", hint="give an object: check_pass(MyPass())")
    tried = named(examples(seed) if models is None else models, calibration, train)
    for name in allow:
        if name not in {example.name for example in tried}:
            raise UsageError(f"allow={name!r} is the name of no model", hint=suggestion(name, [e.name for e in tried]))
    try:
        plugins = registry_of(type(a_pass))
    except PluginError as error:
        # A class that cannot be registered cannot be run either.
        raise failure(a_pass, [Fault("class", str(error))]) from error
    faults = on_paper(a_pass, plugins)
    outcomes = [on_example(Trial(a_pass, example, plugins, seed), allow) for example in tried]
    faults += [fault for outcome in outcomes for fault in outcome.faults]
    if faults:
        raise failure(a_pass, faults)
    made, without = variants(a_pass)
    return CheckReport(
        text=str(a_pass),
        tried=tuple(map(str, made)),
        untried=tuple(without),
        changed=tuple(outcome.example for outcome in outcomes if outcome.changed),
        unchanged=tuple(outcome.example for outcome in outcomes if outcome.changed is False),
        refused={outcome.example: outcome.refused for outcome in outcomes if outcome.refused is not None},
    )


def named(
    models: Iterable[Example | tuple[torch.nn.Module, Any]],
    calibration: Iterable[Any] | None,
    train: TrainingData | None,
) -> list[Example]:
    """Return `models` as examples with names, and with the data that they do not bring themselves."""
    # A generator would be used up by the first model.
    batches = None if calibration is None else list(calibration)
    made = []
    for index, given in enumerate(models):
        example = given if isinstance(given, Example) else Example(f"model-{index}", *given)
        own = batches if example.calibration is None else example.calibration
        made.append(dataclasses.replace(example, calibration=own, train=example.train or train))
    return made


def on_paper(a_pass: Pass, plugins: Plugins) -> list[Fault]:
    """Return the rules that the pass breaks before it is run."""
    faults = [Fault("text round trip", text) for text in round_trip(a_pass, plugins)]
    faults += [Fault("documentation", text) for text in documentation(a_pass)]
    return faults + [Fault("validation of options", text) for text in validation(a_pass)]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a pass did on one example; `changed` is None where it gave no result."""

    example: str
    faults: Sequence[Fault]
    changed: bool | None = None
    refused: str | None = None


def on_example(trial: Trial, allow: Collection[str]) -> Outcome:
    """Run the pass on one example and look at what comes of it."""
    name = trial.example.name
    try:
        stage = trial.result.stages[0]
    except StepFailed as error:
        return on_failure(trial, error, allow)
    # Once after the first run and once after all of them: what is changed twice may be as before.
    checks = [("the original is untouched", original_untouched), *RULES.items()]
    faults = [Fault(rule, text, name) for rule, check in checks for text in check(trial)]
    return Outcome(name, list(dict.fromkeys(faults)), changed=stage.changed)


def on_failure(trial: Trial, error: StepFailed, allow: Collection[str]) -> Outcome:
    """Return how a pass did that gave no result: allowed to refuse or not, it must have left the model as it was."""
    name = trial.example.name
    harm = [Fault("the original is untouched", text, name) for text in original_untouched(trial)]
    if not refuses(error):
        return Outcome(name, [Fault("verification", str(error), name), *harm])
    if name in allow:
        return Outcome(name, harm, refused=error.message)
    way_out = f'{error}\nif that is right:  check_pass(..., allow=["{name}"])'
    return Outcome(name, [Fault("runs on the examples", way_out, name), *harm])


def refuses(error: StepFailed) -> bool:
    """Whether the pass said itself that it does not apply, rather than that it was found wrong."""
    return isinstance(error.__cause__, PassFailed) and not isinstance(error.__cause__, VerificationFailed)


def failure(a_pass: Pass, faults: Sequence[Fault]) -> AssertionError:
    """Return the error that lists every broken rule."""
    rules = len({fault.rule for fault in faults})
    lines = [f"pass {type(a_pass).name!r} ({type(a_pass).__qualname__}) breaks {plural(rules, 'rule')}:"]
    return AssertionError("\n".join([*lines, *map(str, faults)]))
