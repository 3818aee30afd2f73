"""Passes that lie: every one is found out, and named with its plugin and the node."""

from __future__ import annotations

from dataclasses import make_dataclass

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import StepFailed
from fxcompress.graph.tensors import set_tensor

aten = torch.ops.aten


class Net(nn.Module):
    """A convolution with batch norm, a residual, a view over the batch, two results in a dict."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 5)
        self.other = nn.Linear(6, 5)

    def forward(self, image, shift):
        x = torch.relu(self.bn(self.conv(image)))
        x = x - torch.sigmoid(self.inner(x))
        pooled = x.view(x.shape[0], 6, -1).mean(2) + shift
        return {"logits": self.head(pooled), "features": (pooled, self.other(pooled).softmax(1))}


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    return fxc.capture(made_net(), fxc.Inputs(torch.randn(4, 3, 8, 8), shift=torch.randn(4, 6)))


@pytest.fixture
def net():
    return made_net()


def made_net():
    torch.manual_seed(0)
    made = Net().eval()
    made.bn.running_mean.normal_()
    return made


@pytest.fixture
def inputs():
    return fxc.Inputs(torch.randn(4, 3, 8, 8), shift=torch.randn(4, 6))


def node_named(module, name):
    return next(node for node in module.graph.nodes if node.name == name)


def parameter(module, path):
    return dict(module.named_parameters())[path].data


def wrong_weight(module, context):
    parameter(module, "head.weight").mul_(1.01)


def one_wrong_number(module, context):
    parameter(module, "conv.weight")[0, 0, 0, 0] += 0.5


def swapped_channels(module, context):
    weight = parameter(module, "inner.weight")
    weight.copy_(weight.flip(0))


def dropped_bias(module, context):
    node = node_named(module, "linear")
    node.args = node.args[:2]


def swapped_inputs(module, context):
    node = node_named(module, "sub")
    node.args = (node.args[1], node.args[0])


def swapped_results(module, context):
    first, second, third = module.graph.output_node().args[0]
    module.graph.output_node().args = ((second, first, third),)


def skipped_node(module, context):
    node = node_named(module, "relu")
    node.replace_all_uses_with(node.args[0])
    module.graph.erase_node(node)


def other_operator(module, context):
    node_named(module, "sigmoid").target = aten.tanh.default


def other_epsilon(module, context):
    node_named(module, "batch_norm").update_arg(7, 0.5)


def training_flag_left_on(module, context):
    node_named(module, "batch_norm").update_arg(5, True)


def stale_shape(module, context):
    set_tensor(module, "conv.weight", parameter(module, "conv.weight")[:4].clone())


def wrong_output_width(module, context):
    set_tensor(module, "head.weight", parameter(module, "head.weight")[:3].clone())
    set_tensor(module, "head.bias", parameter(module, "head.bias")[:3].clone())


def other_dtype(module, context):
    graph, node = module.graph, node_named(module, "linear")
    with graph.inserting_after(node):
        wide = graph.call_function(aten.to.dtype, (node, torch.float64))
    node.replace_all_uses_with(wide, delete_user_cb=lambda user: user is not wide)


def lost_result(module, context):
    output = module.graph.output_node()
    output.args = (output.args[0][:2],)


def other_structure(module, context):
    return torch.fx.GraphModule(module, torch.fx.Graph())


def not_a_number(module, context):
    parameter(module, "other.bias")[0] = float("nan")


def infinite(module, context):
    parameter(module, "head.weight").fill_(3e38)


def constant_batch(module, context):
    node = node_named(module, "view")
    node.args = (node.args[0], [4, 6, -1])


def constant_batch_in_a_tensor(module, context):
    graph, node = module.graph, node_named(module, "add")
    module.register_buffer("baked", torch.zeros(4, 6))
    with graph.inserting_after(node):
        made = graph.call_function(aten.add.Tensor, (node, graph.get_attr("baked")))
    made.prepend(made.args[1])
    node.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)


def missing_tensor(module, context):
    del module.head.bias


def dangling_node(module, context):
    other = torch.fx.Graph().placeholder("stranger")
    node_named(module, "relu").args = (other,)


def out_of_order(module, context):
    node_named(module, "conv2d").append(node_named(module, "sub"))


def renamed_input(module, context):
    node_named(module, "shift").target = "offset"


def dropped_input(module, context):
    node = node_named(module, "shift")
    node.replace_all_uses_with(node_named(module, "mean"))
    module.graph.erase_node(node)


def changed_example(module, context):
    context.inputs.tensors()[0].zero_()


def changed_original(module, context):
    context.resources.original.head.weight.data.add_(1)


def undeclared_statistic(module, context):
    context.record(zerod=3)


def no_module(module, context):
    return module.graph


def crash(module, context):
    return {}["gone"]


# name of the saboteur, fidelity that it claims, node (or tensor, or input) at fault, words of the message
SABOTAGE = [
    (wrong_weight, "exact", "linear", "differs by"),
    (one_wrong_number, "exact", "conv2d", "differs by"),
    (swapped_channels, "exact", "conv2d_1", "differs by"),
    (dropped_bias, "exact", "linear", "differs by"),
    (swapped_inputs, "exact", "sub", "differs by"),
    (swapped_results, "lossy", "add", "a result of type f32[b, 5] is now f32[b, 6]"),
    (skipped_node, "exact", "conv2d_1", "differs by"),
    (other_operator, "close", "sigmoid", "differs by"),
    (other_epsilon, "exact", "batch_norm", "differs by"),
    (training_flag_left_on, "exact", "batch_norm", "differs by"),
    (stale_shape, "lossy", "conv2d", "does not take"),
    (wrong_output_width, "lossy", "linear", "f32[b, 5] is now f32[b, 3]"),
    (other_dtype, "lossy", "to_dtype", "is now f64[b, 5]"),
    (lost_result, "lossy", "output", "structure of the results"),
    (other_structure, "lossy", None, ""),
    (not_a_number, "lossy", "linear_1", "not finite"),
    (infinite, "lossy", "linear", "not finite"),
    (constant_batch, "lossy", "view", "fixes the dynamic size"),
    (constant_batch_in_a_tensor, "lossy", "add_tensor", "fixes the dynamic size"),
    (missing_tensor, "lossy", "head_bias", "there is no tensor 'head.bias'"),
    (dangling_node, "lossy", "relu", "another graph"),
    (out_of_order, "lossy", "sub", "stands after it"),
    (renamed_input, "lossy", "shift", "inputs are others"),
    (dropped_input, "lossy", "shift", "inputs are others"),
    (changed_example, "lossy", "the example input 0", "outside the module"),
    (changed_original, "lossy", "head.weight", "outside the module"),
    (undeclared_statistic, "lossy", None, "did you mean 'zeroed'"),
    (no_module, "lossy", None, "returned Graph, not a GraphModule"),
    (crash, "lossy", None, "KeyError: 'gone'"),
]


def saboteur(act, claimed):
    """A pass that does `act` and claims a fidelity, registered by a plugin of its own."""

    def apply(self, module, context):
        result = act(module, context)
        return module if result is None else result

    name = act.__name__.replace("_", "-")
    cls = make_dataclass(
        act.__name__,
        [],
        bases=(fxc.Pass,),
        frozen=True,
        namespace={
            "__module__": __name__,
            "__doc__": "Do harm.",
            "name": name,
            "fidelity": claimed,
            "apply": apply,
            "zeroed": fxc.statistic("a number"),
        },
    )

    class Plugin:
        @fxc.hookimpl
        def register_passes(self, register):
            register(cls)

    plugins = fxc.Plugins()
    plugins.register(Plugin(), "sabotage")
    return name, plugins


@pytest.mark.parametrize(
    ("act", "claimed", "node", "words"), SABOTAGE, ids=lambda value: getattr(value, "__name__", None)
)
def test_sabotage_is_reported_with_pass_plugin_and_node(captured, net, inputs, act, claimed, node, words):
    name, plugins = saboteur(act, claimed)
    model = net if act is changed_original else captured
    with pytest.raises(StepFailed) as caught:
        fxc.compress(model, inputs, f"fold-constants,{name}", plugins=plugins)
    error, text = caught.value, str(caught.value)
    assert (error.step, error.pass_text, error.plugin) == (1, name, "sabotage")
    assert f"step 2 of 2, {name} (plugin 'sabotage')" in text
    assert words in text
    if node is not None:
        assert error.node == node, text
        assert node in text


def test_an_honest_lossy_pass_may_change_results(net, inputs):
    result = fxc.compress(net, inputs, "mask{sparsity=0.5}")
    assert result.stages[0].largest_difference > 0


def test_without_the_run_the_other_checks_are_still_made(net, inputs):
    name, plugins = saboteur(constant_batch, "lossy")
    with pytest.raises(StepFailed, match="fixes the dynamic size"):
        fxc.compress(net, inputs, name, plugins=plugins, verify_run=False)
    name, plugins = saboteur(wrong_weight, "exact")
    assert fxc.compress(net, inputs, name, plugins=plugins, verify_run=False).stages[0].largest_difference is None


def test_largest_difference_is_that_of_the_results(net, inputs):
    result = fxc.compress(net, inputs, "mask{sparsity=0.5 targets=head}")
    want, got = inputs.call(net), inputs.call(result.module)
    assert result.stages[0].largest_difference == pytest.approx((want["logits"] - got["logits"]).abs().max().item())


def test_results_that_were_not_finite_before_may_stay_so(net, inputs):
    net.other.bias.data[1] = float("inf")
    fxc.compress(net, inputs, "fold-bn")


def test_the_callers_random_state_is_left_alone(net, inputs):
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    fxc.compress(net, inputs, "fold-bn")
    assert torch.equal(torch.rand(3), want)
