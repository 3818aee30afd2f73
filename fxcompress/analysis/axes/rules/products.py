"""Calls that multiply and add up: linear, products of matrices, einsum, attention."""

from __future__ import annotations

from itertools import zip_longest

from fxcompress.analysis.axes.axis import SUMMED, Axis, Value
from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.table import PRODUCT, named, rule
from fxcompress.analysis.axes.terms import Term
from fxcompress.graph.nodes import argument_names


@rule(*named("linear"), zeros=PRODUCT)
def linear(op: Op) -> None:
    given, weight, bias = op.given("input"), op.given("weight"), op.input("bias")
    op.contract(given.axes[-1], weight.axes[-1])
    if len(weight.axes) == 2:
        op.equal(op.output.axes[-1], weight.axes[0], bias.axes[-1] if bias is not None and bias.axes else None)
    _equal_each(op, given.axes[:-1], op.output.axes)


@rule(*named("matmul", "mm", "bmm", "mv", "dot"), zeros=PRODUCT)
def matmul(op: Op) -> None:
    one, other = op.tensors()[0], op.tensors()[-1]
    _matmul(op, one, other)


@rule(*named("addmm", "baddbmm", "addmv"), zeros=PRODUCT)
def addmm(op: Op) -> None:
    names = argument_names(op.node)[1:3]
    _matmul(op, op.given(names[0]), op.given(names[1]))
    op.broadcast(op.given("self"))


@rule(*named("addbmm"), zeros=PRODUCT)
def addbmm(op: Op) -> None:
    """The products of a batch, added up."""
    one, other = op.given("batch1"), op.given("batch2")
    _matmul(op, one, other)
    op.contract(one.axes[0], other.axes[0])
    op.broadcast(op.given("self"))


def _matmul(op: Op, one: Value, other: Value) -> None:
    """State the product of two tensors, [..., rows, inner] and [..., inner, columns], or vectors [inner]."""
    left, right, out = list(one.axes), list(other.axes), list(op.output.axes)
    op.contract(left[-1], right[-2] if len(right) > 1 else right[-1])
    if len(right) > 1:
        op.equal(right[-1], out.pop())
    if len(left) > 1:
        op.equal(left[-2], out.pop())
    for batch in (left[:-2], right[:-2]):
        for axis, result in zip(reversed(batch), reversed(out), strict=False):
            op.equal(axis, result)


@rule(*named("einsum"), zeros=PRODUCT)
def einsum(op: Op) -> None:
    equation = op.argument("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    values = [value for value in op.inputs("tensors") if value is not None]
    words = left.split(",")
    if not arrow or "." in equation or any(len(set(word)) != len(word) for word in words):
        op.pin([axis for value in (*values, op.output) for axis in value.axes], "has an equation without a rule")
        return
    seen: dict[str, Axis] = dict(zip(right, op.output.axes, strict=True))
    met: dict[str, list[Axis]] = {}
    for word, value in zip(words, values, strict=True):
        for letter, axis in zip(word, value.axes, strict=True):
            if letter in seen:
                op.equal(axis, seen[letter])
            elif axis.size > 1:
                met.setdefault(letter, []).append(axis)
    for first, *others in met.values():
        for axis in others:
            op.contract(first, axis)
        if not others:
            op.reduce(first, SUMMED)


@rule(*named("scaled_dot_product_attention"), zeros=PRODUCT)
def attention(op: Op) -> None:
    """Query [..., heads, L, E], key [..., heads, S, E], value [..., heads, S, V]: result [..., heads, L, V]."""
    query, key, value, mask = op.given("query"), op.given("key"), op.given("value"), op.input("attn_mask")
    out = op.output
    op.contract(query.axes[-1], key.axes[-1])
    op.equal(value.axes[-1], out.axes[-1])
    op.equal(query.axes[-2], out.axes[-2])
    op.equal(key.axes[-2], value.axes[-2])
    op.pin(key.axes[-2], "normalises over the keys (softmax)")
    if op.argument("is_causal"):
        op.pin(query.axes[-2], "compares positions of this axis with those of the keys")
    op.equal(*(value.axes[-3] if len(value.axes) > 2 else None for value in (key, value)))
    for place, (asked, given) in enumerate(zip(reversed(query.axes[:-2]), reversed(key.axes[:-2]), strict=False)):
        result = out.axes[-3 - place]
        op.equal(asked, result)
        if place == 0 and op.argument("enable_gqa") and given.size != asked.size:
            op.repeated(given, Term(asked.size // given.size), asked, each=True)
        else:
            op.equal(given, result, value.axes[-3 - place])
    if mask is not None:
        for axis, target in zip_longest(reversed(mask.axes), (key.axes[-2], *reversed(out.axes[:-1]))):
            if axis is not None and target is not None:
                op.equal(axis, target)


@rule(*named("_grouped_mm"), "transformers::grouped_mm_fallback", zeros=PRODUCT)
def grouped_product(op: Op) -> None:
    """Rows [rows, inner] in one piece for each expert, weights [experts, inner, columns]: [rows, columns]."""
    rows, weights, offsets = op.tensors()[:3]
    if len(rows.axes) != 2 or len(weights.axes) != 3:
        op.pin([axis for value in (*op.tensors(), op.output) for axis in value.axes], "has a form without a rule")
        return
    op.contract(rows.axes[1], weights.axes[1])
    op.equal(weights.axes[2], op.output.axes[1])
    op.equal(rows.axes[0], op.output.axes[0])
    op.pin((rows.axes[0], weights.axes[0], offsets.axes[0]), "picks experts by their numbers")


def _equal_each(op: Op, ones: tuple[Axis, ...], others: tuple[Axis, ...]) -> None:
    for one, other in zip(ones, others, strict=False):
        op.equal(one, other)
