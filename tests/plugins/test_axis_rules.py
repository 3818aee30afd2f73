"""The hook for axis rules: what plugins register reaches analysis, passes and commands; what is wrong is named."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.axes import KEEP, LOSE, analyse, group_table, why
from fxcompress.cli import main


@torch.library.custom_op("fxcompress_test::halve", mutates_args=())
def halve(x: torch.Tensor) -> torch.Tensor:
    return x / 2


@halve.register_fake
def _(x):
    return torch.empty_like(x)


OPERATOR = torch.ops.fxcompress_test.halve


def elementwise(op):
    op.broadcast(op.given("x"))


def another(op):
    op.pin(op.output.axes, "is left alone")


def plugin(*calls, **named):
    class Plugin:
        @fxc.hookimpl
        def register_axis_rules(self, register):
            for arguments in calls:
                register(*arguments, **named)

    return Plugin()


def plugins_with(*pairs):
    plugins = fxc.Plugins(autoload=False)
    for name, one in pairs:
        plugins.register(one, name)
    return plugins


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.leave(halve(self.enter(x)))


def captured():
    return fxc.capture(Net().eval(), (torch.randn(3, 4),))


def free(rules):
    return [row.carriers for row in group_table(analyse(captured().module, rules)).free]


def test_a_registered_rule_is_a_mapping_from_operators():
    plugins = plugins_with(("mine", plugin((OPERATOR, elementwise), zeros=KEEP)))
    ((target, rule),) = plugins.axis_rules.items()
    assert (target, rule.state.__wrapped__, rule.zeros) == (OPERATOR, elementwise, KEEP)
    assert plugins_with(("mine", plugin((OPERATOR, elementwise)))).axis_rules[OPERATOR].zeros == LOSE
    assert fxc.Plugins(autoload=False).axis_rules == {}


@pytest.mark.parametrize("target", [OPERATOR, OPERATOR.default, "fxcompress_test::halve"], ids=str)
def test_a_rule_frees_what_an_unknown_operator_pins(target):
    assert free({}) == []
    carriers = ("enter.weight:0", "enter.bias:0", "leave.weight:1")
    assert free(plugins_with(("mine", plugin((target, elementwise)))).axis_rules) == [carriers]


def test_a_rule_for_one_overload_goes_before_that_for_all():
    plugins = plugins_with(("mine", plugin((OPERATOR, elementwise), (OPERATOR.default, another))))
    assert free(plugins.axis_rules) == []


def test_a_rule_goes_before_a_built_in_one():
    rules = plugins_with(("mine", plugin((torch.ops.aten.linear, another), (OPERATOR, elementwise)))).axis_rules
    (found,) = why(analyse(captured().module, rules), "%halve:1").slots
    assert found.pinned == "%linear is left alone"


def test_what_a_rule_says_nothing_of_is_pinned():
    axes = analyse(captured().module, plugins_with(("mine", plugin((OPERATOR, another)))).axis_rules)
    (given,) = why(axes, "enter.weight:0").slots
    (made,) = why(axes, "leave.weight:1").slots
    assert given.pinned == "%halve has a rule that says nothing of this axis"
    assert made.pinned == "%halve is left alone"


def test_a_rule_that_fails_is_named_with_its_plugin_and_the_call():
    def wrong(op):
        op.given("y")

    rules = plugins_with(("mine", plugin((OPERATOR, wrong)))).axis_rules
    with pytest.raises(fxc.PassFailed) as caught:
        analyse(captured().module, rules)
    assert str(caught.value) == (
        "the axis rule for fxcompress_test.halve.default of plugin 'mine' fails: KeyError: "
        "\"fxcompress_test.halve.default has no argument 'y'\" (node %halve)\n  hint: go on without it with  -p no:mine"
    )


@dataclass(frozen=True)
class Look(fxc.Pass):
    """Tell which groups are free."""

    name = "look"
    fidelity = "exact"

    def apply(self, module, context):
        axes = analyse(module, context.resources.axis_rules)
        context.details["free"] = [row.name for row in group_table(axes).free]
        return module


def test_passes_are_given_the_rules_of_the_run():
    inputs = (torch.randn(3, 4),)
    plugins = plugins_with(("mine", plugin((OPERATOR, elementwise))))
    with_rules = fxc.compress(Net().eval(), inputs, [Look()], plugins=plugins)
    without = fxc.compress(Net().eval(), inputs, [Look()], plugins=fxc.Plugins(autoload=False))
    assert with_rules.stages[0].details["free"] == ["enter.weight:0"]
    assert without.stages[0].details["free"] == []


def test_a_plan_is_applied_with_the_rules_of_plugins():
    plugins = plugins_with(("mine", plugin((OPERATOR, elementwise), zeros=KEEP)))
    plan = fxc.compress(Net().eval(), (torch.randn(3, 4),), "prune{round_to=1 exact=true}", plugins=plugins).plan
    other, x, kept = captured(), torch.randn(3, 4), plan["enter.weight"][0]
    held = other.module.state_dict()
    hidden = (x @ held["enter.weight"][kept].T + held["enter.bias"][kept]) / 2
    want = hidden @ held["leave.weight"][:, kept].T + held["leave.bias"]
    assert torch.allclose(fxc.apply_plan(other, plan, plugins=plugins).module(x), want, atol=1e-6)
    with pytest.raises(fxc.FxcompressError, match="cannot stay without others"):
        fxc.apply_plan(other, plan)


@pytest.mark.parametrize("targets", [(OPERATOR, OPERATOR), (OPERATOR, "fxcompress_test::halve")], ids=str)
def test_two_rules_for_one_operator_are_an_error_that_names_both(targets):
    first, second = (plugin((target, rule)) for target, rule in zip(targets, (elementwise, another), strict=True))
    with pytest.raises(fxc.FxcompressError) as caught:
        plugins_with(("one", first), ("two", second))
    assert str(caught.value) == (
        f"axis rule 'fxcompress_test.halve' is registered twice: {__name__}.elementwise by plugin 'one' and "
        f"{__name__}.another by plugin 'two'\n  hint: block one of them with  -p no:two"
    )


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        (
            (print, elementwise),
            {},
            "axis rule for <built-in function print>, which is no operator\n  hint: give  torch",
        ),
        (("halve", elementwise), {}, "axis rule for 'halve', which is no operator\n  hint: give  torch.ops.NAMESPACE"),
        ((OPERATOR, 3), {}, "the axis rule for fxcompress_test.halve is 3\n  hint: give a function that takes an Op"),
        ((OPERATOR, another), {"zeros": "kep"}, "halve says zeros='kep'\n  hint: did you mean 'keep'?"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_plugin_named(arguments, named, message):
    with pytest.raises(fxc.FxcompressError, match="plugin 'mine': .*" + re.escape(message)) as caught:
        plugins_with(("mine", plugin(arguments, **named)))
    assert caught.value.exit_code == 2


def test_a_plugin_that_fails_in_the_hook_is_named():
    with pytest.raises(fxc.FxcompressError, match=r"plugin 'mine' \(object\) fails in register_axis_rules: TypeError"):
        plugins_with(("mine", plugin((OPERATOR,))))


MODULE = """
import torch
import fxcompress as fxc

@torch.library.custom_op("fxcompress_test::third", mutates_args=())
def third(x: torch.Tensor) -> torch.Tensor:
    return x / 3

@third.register_fake
def _(x):
    return torch.empty_like(x)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = torch.nn.Linear(4, 16), torch.nn.Linear(16, 4)

    def forward(self, x):
        return self.leave(third(self.enter(x)))

def factory():
    return Net().eval(), (torch.randn(3, 4),)

@fxc.hookimpl
def register_axis_rules(register):
    register(torch.ops.fxcompress_test.third, lambda op: op.broadcast(op.given("x")))
"""


def test_the_command_line_uses_the_rules_of_plugins(tmp_path, monkeypatch, capsys):
    (tmp_path / "thirds.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def printed(*words):
        main(["inspect", "thirds:factory", *words])
        return capsys.readouterr().out

    assert "no rule describes fxcompress_test.third.default (1 call: %third)" in printed("--axes")
    table = json.loads(printed("--axes", "--json", "-p", "thirds"))
    assert table["unknown"] == {}
    assert [row["name"] for row in table["groups"] if row["pinned"] is None] == ["enter.weight:0"]
    assert "is an operator that no rule describes" in printed("--why", "enter.weight:0")
    assert "free: group enter.weight:0" in printed("--why", "enter.weight:0", "-p", "thirds")
