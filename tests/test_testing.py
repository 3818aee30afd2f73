"""`fxc.testing.check_pass`: every built-in pass keeps the contract, and every way of breaking it is found."""

import dataclasses
import itertools
import random
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.contract import options_of
from fxcompress.errors import PassFailed, UsageError
from fxcompress.graph.tensors import rename_tensor
from fxcompress.testing import Example, check_pass, examples
from fxcompress.testing.options import variants

aten = torch.ops.aten


@pytest.fixture(autouse=True, scope="module")
def _single_threaded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small():
    """One small example: two linears with a batch norm between."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)).eval()
    return Example("small", model, (torch.randn(4, 6),))


# Built-in passes, and on which of the default examples each has something to do.
EVERYWHERE = {"convolutional", "perceptron", "attention", "tied", "separable"}
BUILT_IN = {
    "bake": set(),
    "capture-teacher": set(),
    "clip{deviations=1.5}": EVERYWHERE,
    "cluster{bits=2}": EVERYWHERE,
    "convert": set(),
    # What it learns is itself; batch norms give others in training.
    "distill{losses=hint pairs=output}": {"convolutional", "perceptron", "separable"},
    "eliminate-dead-nodes": {"perceptron"},
    "equalize": {"separable"},
    "fake-quantize{scheme=w4a16}": EVERYWHERE,
    # What gives its own targets exactly has nothing to learn; batch norms give others in training.
    "finetune": {"convolutional", "perceptron", "separable"},
    "fold-bn": {"convolutional", "perceptron", "separable"},
    "fold-constants": {"convolutional"},
    "drop-blocks{importance=norm}": {"convolutional", "attention"},
    "lower{measure=false}": set(),
    "mask{sparsity=0.25}": EVERYWHERE,
    "mask{pattern=2:4 importance=wanda}": EVERYWHERE,
    "mask{importance=sparsegpt baked=true}": EVERYWHERE,
    "mask{pattern=block:3x2 importance=movement steps=2}": EVERYWHERE,
    "merge{similarity=0.5}": {"perceptron", "separable"},
    "prune{round_to=1}": EVERYWHERE,
    "prune{masked=true}": set(),
    "quantize": EVERYWHERE,
    "quantize{scheme=w4a16 rounding=learned}": EVERYWHERE,
    "reconstruct{all=true}": {"attention", "tied", "separable"},
    "smooth{insert=true}": EVERYWHERE,
    "sensitivity": set(),
}


def test_no_built_in_pass_is_forgotten():
    assert {text.partition("{")[0] for text in BUILT_IN} == set(fxc.Plugins().passes.entries)


@pytest.mark.parametrize("text", BUILT_IN)
def test_built_in_passes_keep_the_contract(text):
    (built_in,) = fxc.Pipeline.parse(text)
    report = check_pass(built_in)
    assert report.text == text
    assert BUILT_IN[text] <= set(report.changed)
    assert set(report.changed) | set(report.unchanged) == EVERYWHERE
    assert report.refused == {}


@dataclass(frozen=True)
class Good(fxc.Pass):
    """Halve the last weight: the base of the passes below, each of which breaks one rule."""

    name = "good"
    fidelity = "lossy"
    by: float = fxc.option(2.0, help="divisor", check=fxc.above(0))
    halved = fxc.statistic("weights halved")

    def apply(self, module, context):
        with torch.no_grad():
            weight = module.get_parameter("3.weight")
            weight.div_(self.by)
        context.record(halved=weight.numel())
        return module


def changing(**attributes):
    """A class like Good with other attributes."""
    return dataclass(frozen=True)(
        type("Changed", (Good,), {"__doc__": "Break a rule.", "name": "changed", **attributes})
    )


def before_good(action):
    """A class like Good that does something before."""

    def apply(self, module, context):
        action(module, context)
        return Good.apply(self, module, context)

    return changing(apply=apply)


def test_a_good_pass_is_reported():
    report = check_pass(Good(), [small()])
    assert report == fxc.testing.CheckReport(
        text="good", tried=("good{by=0.25}",), untried=(), changed=("small",), unchanged=(), refused={}
    )


def unequal():
    return changing(__eq__=lambda self, other: self is other)


def secretive():
    def text(self):
        return self.name

    return changing(__str__=text)


def undocumented_option():
    return changing(__annotations__={"extra": int}, extra=fxc.option(1, help=" "))


def careless():
    def __post_init__(self):
        """Check nothing."""

    return changing(__post_init__=__post_init__)


def crashing():
    def __post_init__(self):
        if self.by < 0:
            raise ValueError

    return changing(__post_init__=__post_init__)


def lying():
    return changing(fidelity="exact")


def undeclared():
    return before_good(lambda module, context: context.record(seen=1))


def smuggling():
    return before_good(lambda module, context: context.statistics.update(seen=1))


def counting_tensors():
    return before_good(lambda module, context: context.record(halved=torch.tensor(1)))


def counting_to_infinity():
    return before_good(lambda module, context: context.record(halved=float("inf")))


def remembering():
    def apply(self, module, context):
        type(self).runs += 1
        module.get_parameter("0.weight").data.mul_(self.runs)
        return module

    return changing(apply=apply, runs=0, __annotations__={"runs": ClassVar[int]})


def hoarding():
    def apply(self, module, context):
        object.__setattr__(self, "last", module)
        return module

    return changing(apply=apply)


def numbered():
    numbers = itertools.count(1)

    def __post_init__(self):
        super(Good, self).__post_init__()
        object.__setattr__(self, "number", next(numbers))

    def apply(self, module, context):
        module.get_parameter("0.weight").data.mul_(self.number)
        return module

    return changing(apply=apply, __post_init__=__post_init__)


def gambling():
    return before_good(lambda module, context: module.get_parameter("0.weight").data.add_(torch.randn(8, 6)))


def gambling_in_python():
    return before_good(lambda module, context: module.get_parameter("0.weight").data.mul_(random.random()))


def dropping_what_it_needs():
    def apply(self, module, context):
        if "3.weight" not in dict(module.named_parameters()):
            raise RuntimeError("there is no 3.weight")
        rename_tensor(module, "3.weight", "3.renamed")
        return module

    return changing(apply=apply)


def fitting_the_examples():
    """Clamps the result to the range that the example inputs have: exact for them, and for no others."""

    def apply(self, module, context):
        low, high = (float(bound) for bound in context.inputs.call(module).detach().aminmax())
        (last,) = module.graph.output_node().all_input_nodes
        with module.graph.inserting_after(last):
            clamped = module.graph.call_function(aten.clamp.default, (last, low, high))
        last.replace_all_uses_with(clamped, delete_user_cb=lambda user: user is not clamped)
        return module

    return changing(apply=apply, fidelity="exact")


def detaching():
    def apply(self, module, context):
        (first,) = (node for node in module.graph.nodes if node.target == aten.relu.default)
        with module.graph.inserting_after(first):
            made = module.graph.call_function(aten.detach.default, (first,))
        first.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)
        return module

    return changing(apply=apply, fidelity="exact")


def own_function(x):
    return x.clone()


def calling_python():
    def apply(self, module, context):
        (last,) = module.graph.output_node().all_input_nodes
        with module.graph.inserting_after(last):
            made = module.graph.call_function(own_function, (last,))
        last.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)
        return module

    return changing(apply=apply, fidelity="exact")


def shuffling_the_original():
    def shuffle(module, context):
        if context.resources.original is not None:
            bias = context.resources.original.get_parameter("0.bias").data
            bias.copy_(bias.flip(0))

    return before_good(shuffle)


def switching_the_original():
    return before_good(lambda module, context: context.resources.original and context.resources.original.train())


def hooking_the_original():
    def hook(module, context):
        if context.resources.original is not None:
            context.resources.original.register_forward_hook(lambda module, given, result: result * 2)

    return before_good(hook)


def scaling_the_data():
    def scale(module, context):
        for batch in context.calibration():
            batch.args[0].mul_(0.5)

    return before_good(scale)


def returning_nothing():
    return changing(apply=lambda self, module, context: None)


BAD = [
    (lambda: changing(name="Not Kebab"), "class", "has no name in kebab case"),
    (lambda: changing(__doc__=""), "class", "has no docstring"),
    (lambda: changing(name="mask"), "class", "pass 'mask' is registered twice"),
    (unequal, "text round trip", "reads back as"),
    (secretive, "text round trip", "'changed' reads back as Changed(by=2.0), not as Changed(by=0.25)"),
    (undocumented_option, "documentation", "option 'extra' has no help"),
    (lambda: changing(more=fxc.statistic("")), "documentation", "statistic 'more' has no meaning"),
    (careless, "validation of options", "option 'by' takes anything"),
    (crashing, "validation of options", "an illegal 'by' raises TypeError, not PipelineError"),
    (lying, "verification", "Changed'), does not verify: result "),
    (undeclared, "verification", "statistic 'seen' is not declared"),
    (returning_nothing, "verification", "returned NoneType, not a GraphModule"),
    (smuggling, "statistics", "statistic 'seen' is not declared with fxc.statistic"),
    (counting_tensors, "statistics", "not a finite number"),
    (counting_to_infinity, "statistics", "statistic 'halved' is inf, not a finite number"),
    (remembering, "no state between runs", "another module (0.weight): it keeps state"),
    (hoarding, "no state between runs", "the run left last on the pass"),
    (numbered, "equal passes do equal work", "another object of the same text gives another module (0.weight)"),
    (gambling, "randomness from the seed", "another module (0.weight): draw them from context.generator()"),
    (gambling_in_python, "randomness from the seed", "another module (0.weight): draw them from context.generator()"),
    (dropping_what_it_needs, "second run", "run on its own result it fails: step 1 of 1"),
    (fitting_the_examples, "other inputs", "result 0 on other inputs differs by"),
    (detaching, "training", "these parameters get no gradient any more: 0.bias, 0.weight, 1.bias, 1.weight"),
    (calling_python, "save and load", "cannot be saved"),
    (shuffling_the_original, "the original is untouched", "the user's model is changed: 0.bias"),
    (switching_the_original, "the original is untouched", "the user's model is changed: the mode of ''"),
    (hooking_the_original, "the original is untouched", "the user's model gives other results"),
    (scaling_the_data, "the original is untouched", "it changed the inputs, the calibration data"),
]


@pytest.mark.parametrize(("make", "rule", "message"), BAD, ids=[f"{rule}-{message[:30]}" for _, rule, message in BAD])
def test_a_bad_pass_is_told_its_rule(make, rule, message):
    with pytest.raises(AssertionError) as caught:
        check_pass(make()(), [small()])
    text = str(caught.value)
    assert text.startswith("pass '")
    assert f"  {rule}" in text
    assert message in text


def test_every_broken_rule_is_listed():
    scaled, recorded = scaling_the_data(), counting_to_infinity()

    def apply(self, module, context):
        scaled.apply(self, module, context)
        return recorded.apply(self, module, context)

    both = changing(apply=apply, more=fxc.statistic(""))
    with pytest.raises(AssertionError) as caught:
        check_pass(both(), [small()])
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ") and line.endswith(":")]
    assert str(caught.value).startswith("pass 'changed' (Changed) breaks ")
    assert "  documentation:" in lines
    assert {"  statistics, on small:", "  the original is untouched, on small:"} <= set(lines)


def test_the_model_is_untouched_even_where_the_pass_fails():
    def apply(self, module, context):
        if context.resources.original is not None:
            context.resources.original.train()
        raise RuntimeError("no")

    with pytest.raises(AssertionError) as caught:
        check_pass(changing(apply=apply)(), [small()])
    assert "verification, on small" in str(caught.value)
    assert "the original is untouched, on small" in str(caught.value)


def refusing():
    def apply(self, module, context):
        raise PassFailed("there is nothing to do here")

    return changing(apply=apply)


def test_a_refusal_is_a_fault_unless_it_is_allowed():
    with pytest.raises(AssertionError) as caught:
        check_pass(refusing()(), [small()])
    assert "runs on the examples, on small" in str(caught.value)
    assert 'allow=["small"]' in str(caught.value)
    report = check_pass(refusing()(), [small()], allow=["small"])
    assert report.changed == report.unchanged == ()
    assert "there is nothing to do here" in report.refused["small"]


def test_a_cached_property_is_no_state():
    def apply(self, module, context):
        module.get_parameter("0.weight").data.mul_(self.inverse)
        return module

    inverse = cached_property(lambda self: 1 / self.by)
    inverse.__set_name__(Good, "inverse")
    report = check_pass(changing(apply=apply, inverse=inverse)(), [small()])
    assert report.changed == ("small",)


def test_pairs_are_named_in_order_and_get_the_data_given():
    seen = []

    def look(module, context):
        seen.append([batch.args[0].shape for batch in context.calibration()])
        assert context.train is training

    training = fxc.TrainingData([((torch.randn(4, 6),), torch.randn(4, 4))], nn.functional.mse_loss)
    batches = ((torch.randn(2, 6),) for _ in range(3))
    pair = (small().model, small().inputs)
    report = check_pass(before_good(look)(), [pair, pair], calibration=batches, train=training)
    assert report.changed == ("model-0", "model-1")
    assert all(shapes == [torch.Size([2, 6])] * 3 for shapes in seen)


def test_a_model_with_a_fixed_batch_size_serves():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*[nn.Linear(6, 6) for _ in range(4)])

        def forward(self, x):
            return self.layers(x).reshape(3, -1)[int(x.shape[0]) % 2]

    halving = type("Halving", (Good,), {"__doc__": "Halve.", "name": "halving", "apply": halve_first})
    report = check_pass(dataclass(frozen=True)(halving)(), [(Fixed(), (torch.randn(3, 6),))])
    assert report.changed == ("model-0",)


def halve_first(self, module, context):
    with torch.no_grad():
        next(module.parameters()).div_(self.by)
    return module


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_pass(Good), "give an object"),
        (lambda: check_pass("good"), "takes a pass, not 'good'"),
        (lambda: check_pass(Good(), [small()], allow=["smal"]), "did you mean 'small'"),
    ],
)
def test_wrong_calls_are_told(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_the_global_state_is_as_before():
    torch.manual_seed(5)
    random.seed(5)
    check_pass(Good(), [small_with_seed_kept()])
    torch_after, python_after = torch.rand(1), random.random()
    torch.manual_seed(5)
    random.seed(5)
    assert (torch_after, python_after) == (torch.rand(1), random.random())


def small_with_seed_kept():
    state = torch.get_rng_state()
    example = small()
    torch.set_rng_state(state)
    return example


def test_the_examples_are_the_same_each_time():
    first, second = examples(), examples()
    assert [example.name for example in first] == [example.name for example in second]
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
    different = examples(seed=1)
    assert not torch.equal(next(first[0].model.parameters()), next(different[0].model.parameters()))


@pytest.mark.parametrize("cls", [entry.value for entry in fxc.Plugins(autoload=False).passes.entries.values()])
def test_variants_are_legal_and_differ_in_one_option(cls):
    made, without = variants(cls())
    assert len(made) + len(without) == len(options_of(cls))
    for one in made:
        different = [f.name for f in dataclasses.fields(cls) if getattr(one, f.name) != getattr(cls(), f.name)]
        assert len(different) == 1
