"""Which rows are one and the same node, and what of them changed."""

from __future__ import annotations

import copy
import time

import pytest
import torch
from drafts import Block, Clamped, Draft, Net, aten, counts

from fxcompress.capturing import capture
from fxcompress.inspect import diff_snapshots, snapshot


def shot(model, *inputs, label=""):
    return snapshot(capture(model.eval(), inputs or (torch.randn(2, 3, 9, 9),)).module, label)


def diff_of(before, after):
    return diff_snapshots(snapshot(before), snapshot(after))


def marks(diff):
    return [(entry.mark, entry.row.op) for entry in diff.changes]


def test_capturing_again_changes_nothing():
    net = Net()
    diff = diff_snapshots(shot(net), shot(net))
    assert diff.empty
    assert not diff
    assert not diff.remarks
    assert [(e.before.name, e.after.name) for e in diff.entries] == [(r.name, r.name) for r in diff.before.rows]


def test_a_wrapped_model_with_a_clamp_differs_by_the_clamp():
    net = Net()
    diff = diff_snapshots(shot(net), shot(Clamped(net)))
    assert marks(diff) == [("+", "clamp")]
    assert diff.remarks == ("renamed: * -> inner.* (14 parameters, 9 modules)",)
    back = diff_snapshots(shot(Clamped(net)), shot(net))
    assert marks(back) == [("-", "clamp")]


def test_a_model_written_in_another_way_is_the_same_graph():
    class Flat(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.first, self.last = net.stem, net.head
            self.c0, self.n0 = net.blocks[0].conv, net.blocks[0].bn
            self.c1, self.n1 = net.blocks[1].conv, net.blocks[1].bn
            self.act = torch.nn.ReLU()

        def forward(self, picture):
            x = self.first(picture)
            x = self.act(torch.add(x, self.n0(self.c0(x))))
            x = self.act(torch.add(x, self.n1(self.c1(x))))
            x = x.mean((2, 3))
            return {"logits": self.last(x), "features": x}

    net = Net()
    diff = diff_snapshots(shot(net), shot(Flat(net)))
    assert diff.empty
    assert diff.renaming.parameters["blocks.1.conv.weight"] == "c1.weight"
    assert any(remark.startswith("renamed: ") for remark in diff.remarks)


def test_one_more_of_many_equal_layers():
    net = Net(depth=6)
    with torch.no_grad():
        for block in net.blocks:
            block.conv.weight.fill_(0.5)
    deeper = copy.deepcopy(net)
    deeper.blocks.append(copy.deepcopy(net.blocks[0]))
    diff = diff_snapshots(shot(net), shot(deeper))
    assert counts(diff) == (0, 4, 0)
    paired = [(e.before.scope, e.after.scope) for e in diff.entries if e.mark == "="]
    assert all(before == after for before, after in paired)


def test_a_layer_put_in_between_is_not_a_change_of_those_behind_it():
    torch.manual_seed(1)
    net = Net(depth=4)
    other = Net(depth=4)
    other.load_state_dict(net.state_dict())
    other.blocks.insert(1, Block(4))
    assert counts(diff_snapshots(shot(net), shot(other.eval()))) == (0, 4, 0)


def chain(*ops, origin=None):
    draft = Draft()
    x = draft.input("x", 2, 2)
    for position, op in enumerate(ops):
        arguments = (draft.tensor(f"w{position}", op),) if isinstance(op, torch.Tensor) else ()
        x = draft.call(aten.matmul.default if arguments else op, x, *arguments, origin=(origin or {}).get(position, ()))
    return draft.module(x)


WEIGHT = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([aten.relu.default], [aten.relu.default, aten.relu.default], (0, 1, 0)),
        ([aten.relu.default, aten.tanh.default], [aten.tanh.default], (1, 0, 0)),
        ([aten.relu.default, aten.tanh.default], [aten.tanh.default, aten.relu.default], (1, 1, 0)),
        ([aten.relu.default], [aten.tanh.default], (1, 1, 0)),
        ([WEIGHT], [WEIGHT * 2], (0, 0, 1)),
        ([WEIGHT], [WEIGHT.double().float()], (0, 0, 0)),
        ([WEIGHT, aten.relu.default, WEIGHT], [WEIGHT, WEIGHT], (1, 0, 0)),
    ],
)
def test_chains(before, after, expected):
    assert counts(diff_of(chain(*before), chain(*after))) == expected


def test_what_a_pass_recorded_comes_first():
    before = chain(WEIGHT, aten.relu.default, aten.tanh.default)
    after = chain(WEIGHT, aten.sigmoid.default, aten.silu.default, origin={2: ("relu_default",)})
    diff = diff_of(before, after)
    assert [(e.before and e.before.op, e.after and e.after.op) for e in diff.changes] == [
        (None, "sigmoid"),
        ("relu", "silu"),
        ("tanh", None),
    ]


def test_a_row_that_still_stands_keeps_its_place_beside_one_made_from_it():
    before = chain(WEIGHT, aten.relu.default)
    after = chain(WEIGHT, aten.relu.default, aten.relu.default, origin={2: ("relu_default",)})
    diff = diff_of(before, after)
    assert [(e.mark, e.row.name) for e in diff.changes] == [("+", "relu_default_1")]


def test_origins_lead_back_through_several_passes():
    first = chain(WEIGHT, aten.relu.default)
    last = chain(WEIGHT, aten.sigmoid.default, origin={1: ("gelu_default", "relu_default")})
    assert counts(diff_of(first, last)) == (0, 0, 1)


def test_several_nodes_made_one():
    before = chain(WEIGHT, WEIGHT * 2, aten.relu.default)
    after = chain(WEIGHT @ WEIGHT * 2, aten.relu.default, origin={0: ("matmul_default", "matmul_default_1")})
    assert marks(diff_of(before, after)) == [("~", "matmul"), ("-", "matmul")]


def test_batch_norm_folded_into_a_convolution():
    def net(scale, normed):
        draft = Draft()
        x = draft.input("x", 1, 2, 4, 4)
        weight = torch.linspace(0, 1, 36).reshape(2, 2, 3, 3)
        y = draft.call(aten.conv2d.default, x, draft.tensor("conv.weight", weight * scale), scope="conv")
        if normed:
            given = [draft.tensor(f"bn.{word}", torch.ones(2)) for word in ("w", "b", "mean", "var")]
            y = draft.call(aten.batch_norm.default, y, *given, False, 0.1, 1e-5, False, scope="bn")
        return draft.module(draft.call(aten.relu.default, y, scope="act"))

    diff = diff_of(net(1, True), net(2, False))
    assert marks(diff) == [("~", "conv2d"), ("-", "batch_norm")]
    assert diff.changes[0].changed == ("weight",)


def two_inputs(first, second, target=aten.sub.Tensor):
    draft = Draft()
    nodes = {name: draft.input(name, 2, 2) for name in ("x", "y")}
    return draft.module(draft.call(target, nodes[first], nodes[second]))


def test_swapped_arguments_are_a_change():
    diff = diff_of(two_inputs("x", "y"), two_inputs("y", "x"))
    assert diff.changes[0].changed == ("self", "other")
    assert counts(diff) == (0, 0, 1)


def test_swapped_inputs_of_the_graph_are_a_change():
    def net(*names):
        draft = Draft()
        nodes = {name: draft.input(name, 2, 2) for name in names}
        return draft.module(draft.call(aten.sub.Tensor, nodes["x"], nodes["y"]))

    assert diff_of(net("x", "y"), net("y", "x"))


def test_another_overload_is_a_change():
    before, after = two_inputs("x", "y", aten.div.Tensor), two_inputs("x", "y", aten.true_divide.Tensor)
    assert counts(diff_of(before, after)) == (1, 1, 0)
    draft = Draft()
    total = draft.call(aten.sum.default, draft.input("x", 2, 2))
    other = Draft()
    also = other.call(aten.sum.dim_IntList, other.input("x", 2, 2), [0, 1])
    diff = diff_of(draft.module(total), other.module(also))
    assert diff.changes[0].changed[0] == "op"
    assert "sum.dim_IntList(" in str(diff)


def test_untied_tensors_are_a_change_though_they_hold_the_same():
    def net(tied):
        draft = Draft()
        x = draft.input("x", 2, 2)
        for path in ("a", "b"):
            x = draft.call(aten.matmul.default, x, draft.tensor(path, WEIGHT if tied else WEIGHT.clone()))
        return draft.module(x)

    assert diff_of(net(True), net(True)).empty
    assert counts(diff_of(net(True), net(False))) == (0, 0, 1)


def test_a_change_of_type_shows_wherever_it_goes():
    def net(dtype):
        draft = Draft()
        x = draft.call(aten.to.dtype, draft.input("x", 2, 2), dtype)
        return draft.module(draft.call(aten.relu.default, x))

    diff = diff_of(net(torch.float32), net(torch.float64))
    assert [entry.changed for entry in diff.changes] == [("dtype", "result"), ("result",)]


def test_results_nested_in_another_way_are_a_change():
    class Pair(Net):
        def forward(self, image):
            found = super().forward(image)
            return found["logits"], found["features"]

    net, other = Net(), Pair()
    other.load_state_dict(net.state_dict())
    diff = diff_snapshots(shot(net), shot(other))
    assert [(e.row.op, e.changed) for e in diff.changes] == [("output", ("result",))]


def test_a_node_in_another_module_is_no_change_but_is_told():
    def net(scope):
        draft = Draft()
        x = draft.call(aten.relu.default, draft.input("x", 2), scope="a")
        x = draft.call(aten.tanh.default, x, scope="a")
        return draft.module(draft.call(aten.neg.default, x, scope=scope))

    diff = diff_of(net("a"), net("b"))
    assert diff.empty
    assert diff.remarks == ("moved to other modules: 1 node",)


def test_branches_in_another_order_are_the_same_graph():
    def net(order):
        draft = Draft()
        x = draft.input("x", 2)
        made = {op: draft.call(op, x) for op in order}
        return draft.module(draft.call(aten.add.Tensor, made[aten.sin.default], made[aten.cos.default]))

    ops = [aten.sin.default, aten.cos.default]
    assert diff_of(net(ops), net(ops[::-1])).empty


@pytest.mark.parametrize("same", ["everything", "structure"])
def test_work_does_not_grow_with_the_square_of_the_nodes(same):
    def net(layers, seed, prefix):
        torch.manual_seed(seed)
        draft = Draft()
        x = draft.input("x", 2, 4)
        for layer in range(layers):
            y = draft.call(aten.linear.default, x, draft.tensor(f"{prefix}{layer}.weight", torch.randn(4, 4)))
            y = draft.call(aten.mul.Tensor, draft.call(aten.relu.default, y), 0.5)
            x = draft.call(aten.tanh.default, draft.call(aten.add.Tensor, x, y))
        return snapshot(draft.module(x))

    def seconds(layers, times):
        before = net(layers, 0, "layer")
        after = net(layers, 0, "layer") if same == "everything" else net(layers, 1, "other")
        took = []
        for _ in range(times):
            start = time.process_time()
            diff = diff_snapshots(before, after)
            took.append(time.process_time() - start)
        assert counts(diff) == ((0, 0, 0) if same == "everything" else (0, 0, layers))
        return min(took)

    # Four times the layers: 16 times the seconds if each node were held against each, and four if not.
    assert seconds(400, 2) < 10 * seconds(100, 4)
