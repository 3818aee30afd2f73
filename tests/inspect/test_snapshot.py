"""Snapshots: what rows say, what totals count, what stays out."""

from __future__ import annotations

import dataclasses
import json

import torch
from drafts import Draft, Net, aten

from fxcompress.capturing import capture
from fxcompress.graph.fingerprint import tensor_digests
from fxcompress.inspect import snapshot

NET = """\
%image       placeholder(0)  f32[b, 3, 9, 9]
%conv2d      conv2d(%image, stem.weight f32[4, 3, 3, 3], stem.bias f32[4], stride=[2, 2])  f32[b, 4, 4, 4]
%conv2d_1    conv2d(%conv2d, blocks.0.conv.weight f32[4, 4, 3, 3], padding=[1, 1])  f32[b, 4, 4, 4]
%batch_norm  batch_norm(%conv2d_1, blocks.0.bn.weight f32[4], blocks.0.bn.bias f32[4], \
blocks.0.bn.running_mean f32[4], blocks.0.bn.running_var f32[4], training=False, momentum=0.1, eps=1e-05)  \
f32[b, 4, 4, 4]
%add         add(%conv2d, %batch_norm)  f32[b, 4, 4, 4]
%relu        relu(%add)  f32[b, 4, 4, 4]
%mean        mean(%relu, [2, 3])  f32[b, 4]
%linear      linear(%mean, head.weight f32[5, 4], head.bias f32[5])  f32[b, 5]
%output      output(%linear, %mean)  {logits: *, features: *}"""


def captured(model, *inputs):
    return capture(model.eval(), inputs).module


def test_rows_read_as_calls():
    shot = snapshot(captured(Net(depth=1), torch.randn(2, 3, 9, 9)))
    assert str(shot) == NET
    assert [row.scope for row in shot.rows[1:5]] == ["stem", "blocks.0.conv", "blocks.0.bn", "blocks.0"]


def test_two_captures_give_equal_snapshots():
    net, image = Net(), torch.randn(2, 3, 9, 9)
    assert snapshot(captured(net, image)) == snapshot(captured(net, image))


def test_totals_count_what_the_graph_reads():
    net = Net()
    shot = snapshot(captured(net, torch.randn(2, 3, 9, 9)))
    read = [value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")]
    assert shot.nodes == len(shot.rows)
    assert shot.parameters == sum(value.numel() for value in net.parameters())
    assert shot.bytes == sum(value.numel() * 4 for value in read)


def test_tied_tensors_are_counted_once():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(7, 3)
            self.head = torch.nn.Linear(3, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, words):
            return self.head(self.embed(words))

    shot = snapshot(captured(Tied(), torch.tensor([[1, 2], [3, 4]])))
    assert (shot.parameters, shot.bytes) == (21, 84)
    owners = {parameter.owner for row in shot.rows for parameter in row.parameters}
    assert len(owners) == 1


def test_a_snapshot_is_plain_values():
    shot = snapshot(captured(Net(), torch.randn(2, 3, 9, 9)), "net")

    def plain(value):
        if dataclasses.is_dataclass(value):
            return all(plain(getattr(value, field.name)) for field in dataclasses.fields(value))
        return all(map(plain, value)) if isinstance(value, tuple) else isinstance(value, str | int)

    assert plain(shot)
    json.dumps(shot.to_dict(), allow_nan=False)


def test_facts_of_a_parameter():
    weight = torch.tensor([[0.0, 1.0, 0.0], [0.0, 2.0, 3.0]], dtype=torch.float64)
    draft = Draft()
    x = draft.input("x", 2, 3)
    shot = snapshot(draft.module(draft.call(aten.mul.Tensor, x, draft.tensor("a.w", weight))))
    (parameter,) = shot.rows[1].parameters
    assert (parameter.path, parameter.dtype, parameter.shape) == ("a.w", "f64", (2, 3))
    assert (parameter.elements, parameter.nonzero, parameter.sparsity, parameter.bytes) == (6, 3, 0.5, 48)
    assert shot.rows[1].inputs == ("%x", "a.w f64[2, 3] sparsity 50%")


def test_digests_handed_over_are_taken():
    module = captured(Net(), torch.randn(2, 3, 9, 9))
    assert snapshot(module, digests=tensor_digests(module)) == snapshot(module)
    stem = snapshot(module, digests={"stem.weight": "known"}).rows[1].parameters[0]
    assert stem.digest == "known"


def test_arguments_that_are_no_tensors():
    draft = Draft()
    x = draft.input("x", 2, 3)
    parts = draft.call(aten.split.Tensor, x, 1)
    first = draft.call(aten.select.int, draft.call(aten.cat.default, [x, x]), 0, 1)
    cast = draft.call(aten.to.dtype, first, torch.float64)
    scaled = draft.call(aten.add.Tensor, cast, 2.5, alpha=3)
    whole = draft.call(aten.sum.dim_IntList, scaled, None, False)
    rows = snapshot(draft.module(parts, whole)).rows
    assert [f"{row.op}({', '.join(row.inputs)})" for row in rows[1:-1]] == [
        "split(%x, 1)",
        "cat([%x, %x])",
        "select(%cat_default, 0, 1)",
        "to(%select_int, f64)",
        "add(%to_dtype, 2.5, alpha=3)",
        "sum(%add_tensor, None)",
    ]
    assert rows[1].result == "(f32[1, 3], f32[1, 3])"


def test_a_node_without_a_scope_belongs_with_what_it_reads():
    draft = Draft()
    x = draft.call(aten.relu.default, draft.input("x", 2), scope="deep.layer")
    shot = snapshot(draft.module(draft.call(aten.neg.default, x)))
    assert [row.scope for row in shot.rows] == ["", "deep.layer", "deep.layer", ""]


def test_tensors_without_data_have_no_digest():
    draft = Draft()
    x = draft.input("x", 2)
    draft.values = [torch.ones(2, device="meta")]
    module = draft.module(draft.call(aten.mul.Tensor, x, draft.tensor("w", torch.ones(2, device="meta"))))
    assert snapshot(module).rows[1].parameters[0].digest == "without data"
