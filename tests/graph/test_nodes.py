"""The verbs on nodes and tensors: arguments by name, tensors under all of their names, paths that are free."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.fx import Graph

from fxcompress.graph.module import CapturedModule
from fxcompress.graph.nodes import argument, calls, is_call, scope, scopes, set_argument
from fxcompress.graph.tensors import (
    Sources,
    add_tensor,
    attribute,
    drop_unused,
    free_path,
    is_persistent,
    named_tensors,
    put_tensor,
    remove_tensor,
    rename_tensor,
    set_tensor,
    tensor_of,
    tied_paths,
)

aten = torch.ops.aten


def tied_linears() -> CapturedModule:
    """Two linears with one weight, a buffer that state_dict leaves out, and a buffer that nothing reads."""
    root = nn.Module()
    root.a, root.b = nn.Linear(3, 3), nn.Linear(3, 3)
    root.b.weight = root.a.weight
    root.register_buffer("shift", torch.ones(3), persistent=False)
    root.register_buffer("unread", torch.ones(1))
    graph = Graph()
    x = graph.placeholder("x")
    for name in ("a", "b"):
        weight, bias = graph.get_attr(f"{name}.weight"), graph.get_attr(f"{name}.bias")
        x = graph.call_function(aten.linear.default, (x, weight, bias))
    graph.output(graph.call_function(aten.add.Tensor, (x, graph.get_attr("shift"))))
    module = CapturedModule(root, graph)
    module.recompile()
    return module


def one_call(target, *args, **kwargs):
    graph = Graph()
    x = graph.placeholder("x")
    return graph.call_function(target, (x, *args), kwargs)


class TestArguments:
    def test_given_by_position_by_name_and_left_out(self):
        assert argument(one_call(aten.softmax.int, 1), "dim") == 1
        assert argument(one_call(aten.add.Tensor, 2, alpha=3), "alpha") == 3
        assert argument(one_call(aten.add.Tensor, 2), "alpha") == 1
        assert argument(one_call(aten.conv2d.default, None), "stride") == [1, 1]
        assert argument(one_call(aten.conv2d.default, None), "bias") is None

    def test_an_unknown_name(self):
        with pytest.raises(KeyError, match="has no argument 'strides'"):
            argument(one_call(aten.conv2d.default, None), "strides")

    def test_set_where_it_stands(self):
        node = one_call(aten.softmax.int, 1)
        set_argument(node, "dim", 0)
        assert node.args[1:] == (0,)
        node = one_call(aten.add.Tensor, 2, alpha=3)
        set_argument(node, "alpha", 4)
        assert dict(node.kwargs) == {"alpha": 4}

    def test_set_what_was_left_out(self):
        node = one_call(aten.conv2d.default, None)
        set_argument(node, "padding", [1, 1])
        assert node.args[1:] == (None, None, [1, 1], [1, 1])
        node = one_call(aten.add.Tensor, 2)
        set_argument(node, "alpha", 4)
        assert dict(node.kwargs) == {"alpha": 4}

    def test_set_behind_arguments_that_were_given_by_name(self):
        node = one_call(aten.conv2d.default, None, stride=[2, 2])
        set_argument(node, "padding", [1, 1])
        assert node.args[1:] == (None, None, [2, 2], [1, 1])
        assert not node.kwargs

    def test_a_packet_stands_for_its_overloads(self):
        node = one_call(aten.add.Tensor, 2)
        assert is_call(node, aten.add)
        assert is_call(node, aten.mul, aten.add.Tensor)
        assert not is_call(node, aten.add.Scalar)
        assert not is_call(node.args[0], aten.add)
        assert calls(node.graph, aten.add) == [node]


class TestSetTensor:
    def test_a_parameter_stays_one_with_its_flag_under_all_names(self):
        module = tied_linears()
        module.a.weight.requires_grad_(False)
        set_tensor(module, "b.weight", torch.zeros(2, 2))
        assert module.a.weight is module.b.weight
        assert isinstance(module.a.weight, nn.Parameter)
        assert not module.a.weight.requires_grad
        assert module.a.weight.shape == (2, 2)

    def test_integers_become_one_buffer_under_all_names(self):
        module = tied_linears()
        set_tensor(module, "a.weight", torch.ones(3, 3, dtype=torch.int8))
        assert module.get_buffer("a.weight") is module.get_buffer("b.weight")
        assert "weight" not in dict(module.a.named_parameters())
        assert {"a.weight", "b.weight"} <= set(module.state_dict())

    def test_a_parameter_is_taken_as_it_is(self):
        module, made = tied_linears(), nn.Parameter(torch.ones(3), requires_grad=False)
        set_tensor(module, "a.bias", made)
        assert module.a.bias is made

    def test_the_order_of_names_stays(self):
        module = tied_linears()
        names = list(module.state_dict())
        for name in ("b.weight", "a.bias", "unread"):
            set_tensor(module, name, torch.zeros(3))
        assert list(module.state_dict()) == names

    def test_what_state_dict_leaves_out_it_goes_on_to(self):
        module = tied_linears()
        set_tensor(module, "shift", torch.zeros(3))
        assert "shift" not in module.state_dict()
        assert not is_persistent(module, "shift")
        assert is_persistent(module, "unread")

    def test_the_graph_of_a_value_is_not_kept(self):
        module = tied_linears()
        set_tensor(module, "shift", module.a.bias * 2)
        assert not module.shift.requires_grad

    def test_a_new_path_makes_its_modules(self):
        module = tied_linears()
        set_tensor(module, "new.inner.scale", torch.ones(2))
        assert torch.equal(module.state_dict()["new.inner.scale"], torch.ones(2))


class TestPaths:
    def test_tied_paths(self):
        module = tied_linears()
        assert tied_paths(module, module.a.weight) == ["a.weight", "b.weight"]
        assert tied_paths(module, module.a.bias) == ["a.bias"]
        assert dict(named_tensors(module)).keys() >= {"a.weight", "b.weight", "shift", "unread"}

    def test_free_paths(self):
        module = tied_linears()
        assert free_path(module, "a.scale") == "a.scale"
        assert free_path(module, "new.scale") == "new.scale"
        assert free_path(module, "a.weight") == "a.weight_1"
        assert free_path(module, "a") == "a_1"
        module.register_buffer("a_1", torch.ones(1))
        assert free_path(module, "a") == "a_2"

    def test_a_path_may_not_hide_what_a_module_has_nor_lead_through_a_tensor(self):
        module = tied_linears()
        assert free_path(module, "forward") == "forward_1"
        assert free_path(module, "a.weight.scale") == "a.weight_scale"
        put_tensor(module, free_path(module, "a.weight.scale"), torch.ones(1))
        assert free_path(module, "a.weight.scale") == "a.weight_scale_1"

    def test_attribute(self):
        module = tied_linears()
        assert attribute(module, "a.weight") is module.a.weight
        with pytest.raises(AttributeError):
            attribute(module, "a.nothing")


class TestAddRenameRemove:
    def test_added_tensors_are_read_where_they_are_asked_for(self):
        module = tied_linears()
        second = calls(module.graph, aten.linear)[1]
        node = add_tensor(module, "b.bias", nn.Parameter(torch.zeros(3)), second)
        assert node.target == "b.bias_1"
        assert tensor_of(module, node) is module.b.bias_1
        assert "bias_1" in dict(module.b.named_parameters())
        assert node.next is second
        hidden = add_tensor(module, "mask", torch.ones(2), second, persistent=False)
        assert hidden.target == "mask"
        assert "mask" not in module.state_dict()

    def test_rename_moves_nodes_and_keeps_what_it_is(self):
        module = tied_linears()
        rename_tensor(module, "shift", "b.shift")
        assert [node.target for node in module.graph.find_nodes(op="get_attr")][-1] == "b.shift"
        assert not is_persistent(module, "b.shift")
        assert not hasattr(module, "shift")
        rename_tensor(module, "b.shift", "b.shift")
        assert torch.equal(module.b.shift, torch.ones(3))

    def test_rename_over_another(self):
        module = tied_linears()
        bias = module.a.bias
        rename_tensor(module, "a.bias", "b.bias")
        assert module.b.bias is bias
        assert not hasattr(module.a, "bias")
        module.recompile()
        assert module(torch.randn(2, 3)).shape == (2, 3)

    def test_remove_takes_empty_modules_along(self):
        module = tied_linears()
        set_tensor(module, "new.inner.scale", torch.ones(2))
        remove_tensor(module, "new.inner.scale")
        assert not hasattr(module, "new")
        remove_tensor(module, "b.bias")
        assert hasattr(module, "b")


class TestDropUnused:
    def test_everything(self):
        module = tied_linears()
        second = calls(module.graph, aten.linear)[1]
        second.replace_all_uses_with(calls(module.graph, aten.linear)[0])
        assert drop_unused(module) == ["b.bias", "unread"]
        # The weight is read under its other name.
        assert module.b.weight is module.a.weight

    def test_only_among_what_is_asked_for(self):
        module = tied_linears()
        assert drop_unused(module, ["shift", "a.weight", "nowhere"]) == []
        assert "unread" in module.state_dict()
        calls(module.graph, aten.add)[0].replace_all_uses_with(calls(module.graph, aten.linear)[1])
        assert drop_unused(module, ["shift"]) == ["shift"]
        assert "unread" in module.state_dict()

    def test_all_names_of_what_goes(self):
        module = tied_linears()
        graph = module.graph
        graph.output_node().args = (next(iter(graph.find_nodes(op="placeholder"))),)
        assert drop_unused(module, ["b.weight"]) == ["a.weight", "b.weight"]


def test_sources_know_all_names_of_a_tensor():
    module = tied_linears()
    first, second = (node for node in module.graph.find_nodes(op="get_attr") if "weight" in node.target)
    sources = Sources(module)
    assert sources.of(second) == [first, second]
    assert sources.readers(first) == set(calls(module.graph, aten.linear))
    set_tensor(module, "a.weight", torch.zeros(3, 3))
    assert sources.of(second) == [first, second]
    new = add_tensor(module, "c", torch.ones(1), second)
    assert sources.of(new) == [new]


def test_tensors_of_nodes():
    module = copy.deepcopy(tied_linears())
    weight = module.graph.find_nodes(op="get_attr")
    assert tensor_of(module, next(iter(weight))) is module.a.weight
    assert tensor_of(module, calls(module.graph, aten.linear)[0]) is None
    assert tensor_of(module, None) is None


def test_scopes():
    graph = Graph()
    x = graph.placeholder("x")
    first = graph.call_function(aten.relu.default, (x,))
    first.meta["nn_module_stack"] = {"": ("", nn.Module), "a": ("a", nn.Module), "b": ("a.b", nn.ReLU)}
    inserted = graph.call_function(aten.neg.default, (first,))
    outside = graph.call_function(aten.neg.default, (x,))
    outside.meta["nn_module_stack"] = {"": ("", nn.Module)}
    assert scope(first) == "a.b"
    assert scope(inserted) == ""
    assert scopes(graph)[inserted] == "a.b"
    assert scopes(graph)[outside] == ""
