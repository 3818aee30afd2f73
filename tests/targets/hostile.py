"""Files made by hand to do harm: each a good file with one thing turned bad, and the reason why it is."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable

from targets.forge import compact, pack, unpack, with_header

CANARY = "canary_of_the_artifact"
CODE = f"__import__('pathlib').Path('{CANARY}').touch()"


class Corpus:
    """Hostile files by name, each with its reason."""

    def __init__(self, good: bytes) -> None:
        self.good = good
        self.metadata, self.document, self.blobs = unpack(good)
        self.files: dict[str, tuple[str, bytes]] = {}

    def raw(self, name: str, reason: str, data: bytes) -> None:
        assert name not in self.files
        self.files[name] = (reason, data)

    def edit(self, name: str, reason: str, change: Callable[[dict], object]) -> None:
        """A file whose document was changed and whose hashes fit."""
        document = copy.deepcopy(self.document)
        change(document)
        self.raw(name, reason, pack(self.metadata, document, self.blobs))


def node(document: dict, op: str = "call_function", index: int = 0) -> dict:
    return [one for one in document["graph"]["nodes"] if one["op"] == op][index]


def call(document: dict, name: str, target: str, args: list, kwargs: dict | None = None) -> dict:
    """Put a call before the output of the graph and return it."""
    made = {"name": name, "op": "call_function", "target": target, "args": args, "kwargs": kwargs or {}}
    document["graph"]["nodes"].insert(-1, made)
    return made


def rename(document: dict, name: str) -> None:
    """Rename the first call wherever it is read."""
    old = node(document)["name"]
    text = compact(document["graph"]).replace(compact({"node": old}), compact({"node": name}))
    document["graph"] = json.loads(text)
    node(document)["name"] = name


def hostile_files(good: bytes) -> dict[str, tuple[str, bytes]]:
    """Return file contents by name, with the reason why each is hostile, made from a good file.

    The good file's first input is the node `x`, f32[s0, 4]; it has the keyword `scale` and the tensors `inner.weight`,
    `inner.bias`; its calls are a linear, a split, two getitems, a multiplication and an addition.
    """
    corpus = Corpus(good)
    for add in (_names, _targets, _arguments, _structure, _signatures, _tensors, _types, _bombs, _json, _containers):
        add(corpus)
    return corpus.files


def _names(corpus: Corpus) -> None:
    for label, name in {
        "code": f"x; {CODE}",
        "newline": f"x\n    {CODE}\n    y",
        "call": CODE,
        "keyword": "lambda",
        "dunder": "__class__",
        "self": "self",
        "torch": "torch",
        "builtin": "print",
        "empty": "",
        "digit": "1x",
        "wide": "\uff58",
        "long": "x" * 2000,
    }.items():
        corpus.edit(f"name-{label}", f"a node called {name[:40]!r}", lambda d, name=name: rename(d, name))
    corpus.edit("name-twice", "two nodes of one name", lambda d: rename(d, node(d, "placeholder")["name"]))
    for label, target in {
        "code": f"x={CODE}",
        "star": "*x",
        "default": f"x:{CODE}",
        "comment": "x#",
        "self": "self",
    }.items():
        corpus.edit(
            f"input-{label}",
            "code in the name of an input, which FX writes into the head of the function",
            lambda d, target=target: node(d, "placeholder").update(target=target),
        )
    for label, path in {
        "code": f'inner.weight") or {CODE} or getattr(self, "inner',
        "escape": 'inner\\".weight',
        "class": "__class__.__base__",
        "globals": "forward.__globals__",
        "newline": "inner\n.weight",
    }.items():
        corpus.edit(
            f"path-{label}",
            "code in the path of a tensor, which FX writes into an attribute access",
            lambda d, path=path: (d["tensors"][0].update(path=path), node(d, "get_attr").update(target=path)),
        )
    for label, path in {"forward": "forward", "state": "_parameters", "graph": "graph", "train": "inner.train"}.items():
        corpus.edit(
            f"path-{label}", "a tensor in the place of a part of the module", lambda d, path=path: _move(d, path)
        )
    corpus.edit(
        "scope-quotes",
        "code in a module path, which FX prints between quotes where it is told to show it",
        lambda d: d["graph"]["scopes"].append([["k", f'""" or {CODE} or """', "t"]]),
    )
    corpus.edit(
        "origin-quotes", "the same in the origin of a node", lambda d: node(d).update(origin=[f'"""\n{CODE}\n"""'])
    )


def _move(document: dict, path: str) -> None:
    old = document["tensors"][0]["path"]
    document["tensors"][0]["path"] = path
    for one in document["graph"]["nodes"]:
        if one.get("target") == old:
            one["target"] = path


def _targets(corpus: Corpus) -> None:
    for target in (
        *(
            "os.system",
            "builtins.eval",
            "builtins.exec",
            "builtins.__import__",
            "subprocess.run",
            "torch.load",
            "posix.system",
        ),
        *("operator.methodcaller", "operator.attrgetter", "operator.call", "operator.__class__", "math.factorial"),
        *("aten.from_file.default", "aten.save.default", "aten.set_.source_Storage", "aten.resize_.default"),
        *(
            "aten.set_data.default",
            "aten.data.default",
            "aten.add.out",
            "aten.mul.left_t",
            "aten.add.str",
            "aten.warn.default",
        ),
        *(
            "aten.manual_seed.default",
            "aten.as_strided_.default",
            "aten.record_stream.default",
            "aten.to_sparse.default",
        ),
        *(
            "aten.relu.__class__",
            "aten.relu",
            "aten",
            "aten.__class__.default",
            "aten.relu.default.default",
            "aten..default",
        ),
        *("prim.Print.default", "prims.convert_element_type.default", "profiler._record_function_enter.default"),
        *("fxcompress.__class__.default", "fxcompress._private.default", "fxcompress.not_there.default"),
        *(
            "quantized_decomposed.__init__.default",
            "torch.ops.aten.relu.default",
            "c10d.allreduce_.default",
            "aten.relu\n.x",
        ),
        *(
            "higher_order.cond",
            "inductor.accumulate_grad_.default",
            "fsdp.copy_.default",
            "mkldnn._linear_pointwise.default",
        ),
    ):
        corpus.edit(
            f"target-{target!r}",
            "a function outside the allow list",
            lambda d, target=target: node(d).update(target=target, args=[{"node": "x"}], kwargs={}),
        )
    for op in ("call_module", "call_method", "root", "import"):
        corpus.edit(f"op-{op}", "a node that does more than call a function", lambda d, op=op: node(d).update(op=op))


def _arguments(corpus: Corpus) -> None:
    relu = {"target": "aten.relu.default", "kwargs": {}}
    for label, fields in {
        "keyword-code": {"target": "aten.relu.default", "args": [], "kwargs": {f"self={CODE}, x": {"node": "x"}}},
        "keyword-unknown": {"target": "aten.relu.default", "args": [{"node": "x"}], "kwargs": {"out": {"node": "x"}}},
        "keyword-twice": {"target": "aten.relu.default", "args": [{"node": "x"}], "kwargs": {"self": {"node": "x"}}},
        "keyword-of-function": {"target": "operator.add", "args": [1, 2], "kwargs": {"key": 1}},
        "too-many": {**relu, "args": [{"node": "x"}, 1, 2]},
        "too-few": {**relu, "args": []},
        "string-for-tensor": {**relu, "args": [CODE]},
        "string-for-number": {"target": "aten.softmax.int", "args": [{"node": "x"}, CODE], "kwargs": {}},
        "string-of-function": {"target": "operator.mul", "args": ["x", 10**9], "kwargs": {}},
        "item-of-number": {"target": "operator.getitem", "args": [5, 1], "kwargs": {}},
        "later": {**relu, "args": [{"node": "output"}]},
        "itself": {**relu, "args": [{"node": "SELF"}]},
        "stranger": {**relu, "args": [{"node": "nobody"}]},
        "two-kinds": {**relu, "args": [{"node": "x", "float": "nan"}]},
        "no-kind": {**relu, "args": [{}]},
        "unknown-kind": {**relu, "args": [{"object": "os.system"}]},
        "tensor": {**relu, "args": [{"tensor": "inner.weight"}]},
        "dtype": {"target": "aten.to.dtype", "args": [{"node": "x"}, {"dtype": "float32; import os"}], "kwargs": {}},
        "dtype-attribute": {"target": "aten.to.dtype", "args": [{"node": "x"}, {"dtype": "load"}], "kwargs": {}},
        "dtype-number": {"target": "aten.softmax.int", "args": [{"node": "x"}, -1, -1], "kwargs": {}},
        "format-number": {"target": "aten.clone.default", "args": [{"node": "x"}], "kwargs": {"memory_format": 99}},
        "layout-number": {"target": "aten.zeros.default", "args": [[2]], "kwargs": {"layout": 99}},
        "dtype-quantized": {"target": "aten.to.dtype", "args": [{"node": "x"}, {"dtype": "qint8"}], "kwargs": {}},
        "layout": {"target": "aten.zeros.default", "args": [[2]], "kwargs": {"layout": {"layout": "sparse_coo"}}},
        "device": {"target": "aten.zeros.default", "args": [[2]], "kwargs": {"device": {"device": "privateuseone"}}},
        "slice": {**relu, "args": [{"slice": [1, 2, 3, 4]}]},
        "complex": {**relu, "args": [{"complex": ["1", "2"]}]},
        "float": {**relu, "args": [{"float": "1e5"}]},
        "generator": {"target": "aten.rand.generator", "args": [[2]], "kwargs": {"generator": 1}},
        "nested": {**relu, "args": [json.loads("[" * 40 + "]" * 40)]},
        "string-long": {**relu, "args": ["x" * 100_000]},
    }.items():

        def change(document: dict, fields: dict = fields) -> None:
            text = compact(fields).replace('"SELF"', compact(node(document)["name"]))
            node(document).update(json.loads(text))

        corpus.edit(f"argument-{label}", f"an argument that the call does not take: {label}", change)


def _structure(corpus: Corpus) -> None:
    def nodes(document: dict) -> list:
        return document["graph"]["nodes"]

    corpus.edit("no-nodes", "a graph without nodes", lambda d: nodes(d).clear())
    corpus.edit("no-output", "a graph without an output", lambda d: nodes(d).pop())
    corpus.edit("two-outputs", "a graph with two outputs", lambda d: nodes(d).append({**nodes(d)[-1], "name": "more"}))
    corpus.edit("after-output", "a call after the output", lambda d: nodes(d).append(nodes(d).pop(-2)))
    corpus.edit(
        "cycle",
        "two calls that read each other",
        lambda d: node(d)["args"].__setitem__(0, {"node": node(d, index=1)["name"]}),
    )
    corpus.edit("late-input", "an input after a call", lambda d: nodes(d).insert(-1, nodes(d).pop(_input(d))))
    corpus.edit("node-is-a-list", "a node that is a list", lambda d: nodes(d).insert(0, []))
    corpus.edit("graph-is-a-string", "a graph that is a string", lambda d: d.update(graph=CODE))
    corpus.edit("field-unknown", "a field that nobody knows", lambda d: d.update(__reduce__=CODE))
    corpus.edit("node-field", "a field of a node that nobody knows", lambda d: node(d).update(meta={"val": CODE}))
    corpus.edit("field-missing", "a field that is not there", lambda d: d.pop("form"))
    corpus.edit("default", "an input with a default", lambda d: node(d, "placeholder").update(args=[CODE]))
    corpus.edit("scope-away", "a module path that is not there", lambda d: node(d).update(scope=10**6))
    corpus.edit("scope-below", "a module path that is not there", lambda d: node(d).update(scope=-1))
    corpus.edit("notes", "notes that are no lines", lambda d: d.update(notes=[{"node": "x"}]))
    corpus.edit("parameters", "code in the form of call", lambda d: d["form"]["parameters"][0].update(name=CODE))
    corpus.edit("batch", "batch sizes that are no numbers", lambda d: d["form"].update(batch_sizes=[0, CODE, 1]))
    corpus.edit("batch-zero", "multiples of zero", lambda d: d["form"].update(batch_sizes=[0, None, 0]))


def _input(document: dict) -> int:
    return next(i for i, one in enumerate(document["graph"]["nodes"]) if one["op"] == "placeholder")


def _signatures(corpus: Corpus) -> None:
    def edit(name: str, reason: str, change: Callable[[dict], object]) -> None:
        corpus.edit(f"signature-{name}", reason, lambda d: change(d["signature"]))

    edit("argument-code", "code in the name of an argument", lambda s: s["arguments"].__setitem__(0, f"x={CODE}"))
    edit("argument-self", "an argument called self", lambda s: s["arguments"].__setitem__(0, "self"))
    edit("argument-twice", "two arguments of one name", lambda s: s.update(arguments=["x", "x"]))
    edit("argument-missing", "fewer arguments than inputs", lambda s: s.update(arguments=["x"]))
    edit(
        "keyword-code",
        "code in a keyword, which FX writes between quotes",
        lambda s: s["inputs"]["parts"][1].update(keys=[f"':{CODE},'"]),
    )
    edit("keyword-number", "a keyword that is a number", lambda s: s["inputs"]["parts"][1].update(keys=[1]))
    edit("leaves", "more inputs than the graph has", lambda s: s["inputs"]["parts"][0]["parts"].append("*"))
    edit("no-pair", "inputs that are no positional and keyword arguments", lambda s: s.update(inputs="*"))
    edit("outputs", "another number of outputs", lambda s: s.update(outputs="*"))
    edit("kind", "a kind of container that nobody knows", lambda s: s["outputs"].update(kind="os.environ"))
    edit("keys", "keys that are no strings", lambda s: s["outputs"].update(keys=[[], {}]))
    edit("keys-twice", "a key that is given twice", lambda s: s["outputs"].update(keys=["y", "y"]))
    edit("class-code", "code as a class", lambda s: s["outputs"].update({"kind": "class", "class": f'"{CODE}"'}))
    deep: object = "*"
    for _ in range(30):
        deep = {"kind": "list", "parts": [deep]}
    edit("deep", "outputs nested deeper than any model's", lambda s: s.update(outputs=deep))


def _tensors(corpus: Corpus) -> None:
    def row(name: str, reason: str, **fields: object) -> None:
        corpus.edit(f"tensor-{name}", reason, lambda d: d["tensors"][0].update(fields))

    def payload(name: str, reason: str, /, **fields: object) -> None:
        corpus.edit(f"payload-{name}", reason, lambda d: d["payloads"][0].update(fields))

    row("payload", "a tensor without content", payload="nobody")
    row("parameter", "a flag that is a string", parameter="yes")
    row("path", "a path that is a number", path=7)
    row("empty", "a path without words", path="")
    row("dots", "a path of empty words", path="..")
    corpus.edit("tensor-twice", "two tensors of one path", lambda d: d["tensors"].append(d["tensors"][0]))
    corpus.edit(
        "tensor-inside", "a tensor inside a tensor", lambda d: d["tensors"].append(_child(d, "inner.bias.data"))
    )
    corpus.edit("tensor-over", "a tensor called like a module", lambda d: d["tensors"].append(_child(d, "inner")))
    corpus.edit(
        "tensor-tied-to-nobody",
        "a tensor tied to one that is not there",
        lambda d: d["tensors"].append({"path": "more", "same_as": "nobody", "persistent": True}),
    )
    corpus.edit(
        "tensor-modules",
        "short paths that ask for many modules",
        lambda d: d["tensors"].extend(_child(d, f"m{i}." + "a." * 30 + "x") for i in range(300)),
    )
    payload("dtype", "a dtype that nobody knows", dtype="float128")
    payload("dtype-quantized", "a dtype without plain bytes", dtype="qint8")
    payload("dtype-code", "a dtype that is an attribute of torch", dtype="load")
    payload("negative", "a negative size", shape=[-4, -4])
    payload("huge", "sizes beyond any memory", shape=[2**40, 2**40])
    payload("huge-zero", "sizes beyond any memory beside a zero", shape=[0, 2**62, 2**62])
    payload("larger", "more bytes than the file has", shape=[4, 400_000_000])
    payload("smaller", "fewer bytes than the file has", shape=[1, 4])
    payload("dimensions", "many dimensions", shape=[1] * 1000 + [4, 4])
    payload("fraction", "a size that is no whole number", shape=[4.0, 4])
    payload("true", "a size that is a truth value", shape=[True, 16])
    payload("name", "a name that is another's", name="inner.bias")
    payload("metadata", "a tensor called like the metadata", name="__metadata__")
    corpus.edit("payload-order", "payloads in another order than their bytes", lambda d: d["payloads"].reverse())
    corpus.edit("payload-missing", "bytes that belong to nobody", lambda d: d["payloads"].pop())
    document = copy.deepcopy(corpus.document)
    document["payloads"][0].update(sha256="0" * 64)
    corpus.raw("payload-hash", "a hash of other bytes", pack(corpus.metadata, document, corpus.blobs, rehash=False))
    document = copy.deepcopy(corpus.document)
    document["payloads"][0].update(dtype="bool", shape=[64])
    corpus.raw(
        "payload-bool", "booleans that are neither", pack(corpus.metadata, document, [b"\x07" * 64, *corpus.blobs[1:]])
    )
    document = copy.deepcopy(corpus.document)
    document["payloads"][0].update(dtype="int64", shape=[8])
    corpus.raw("tensor-gradient", "a gradient of whole numbers", pack(corpus.metadata, document, corpus.blobs))


def _child(document: dict, path: str) -> dict:
    return {**document["tensors"][0], "path": path}


def _types(corpus: Corpus) -> None:
    def edit(name: str, reason: str, change: Callable[[dict], object]) -> None:
        corpus.edit(f"type-{name}", reason, change)

    def shape(name: str, reason: str, sizes: list) -> None:
        edit(name, reason, lambda d: d["types"]["x"]["tensor"].update(shape=sizes, stride=[1] * len(sizes)))

    edit("missing", "an input without a type", lambda d: d["types"].pop("x"))
    edit("stranger", "a type of nobody", lambda d: d["types"].update(nobody={"constant": None}))
    edit("two", "two types of one input", lambda d: d["types"]["x"].update(constant=1))
    edit("dtype", "an unknown dtype", lambda d: d["types"]["x"]["tensor"].update(dtype="load"))
    edit("object", "a constant that is an object", lambda d: d["types"].update(x={"constant": {"object": "os"}}))
    edit("graph", "a type that the graph does not take", lambda d: d["types"].update(x={"constant": None}))
    edit("hint-one", "a dynamic size of one", lambda d: d["symbols"].update(s0=1))
    edit("hint-negative", "a negative dynamic size", lambda d: d["symbols"].update(s0=-5))
    edit("hint-huge", "a dynamic size beyond any memory", lambda d: d["symbols"].update(s0=2**62))
    edit("symbol-code", "code in the name of a size", lambda d: d["symbols"].update({CODE: 4}))
    edit(
        "symbols",
        "more dynamic sizes than any model's",
        lambda d: d["symbols"].update({f"t{i}": 4 for i in range(999)}),
    )
    shape("symbol", "a size that nobody describes", [[[1, "s9"]], 4])
    shape("term", "a size of no terms", [[], 4])
    shape("terms", "a size of many terms", [[[1, "s0"]] * 1000, 4])
    shape("power", "a size of a high power", [[[1] + ["s0"] * 50], 4])
    shape("factor", "a size with a huge factor", [[[2**60, "s0"]], 4])
    shape("code", "a size that is code", [CODE, 4])
    shape("negative", "a negative size", [-1, 4])
    shape("huge", "sizes beyond any memory", [2**40] * 4)
    edit("stride", "a negative stride", lambda d: d["types"]["x"]["tensor"].update(stride=[-4, 1]))
    edit("strides", "more strides than sizes", lambda d: d["types"]["x"]["tensor"].update(stride=[4, 1, 1]))
    shape("dimensions", "more dimensions than any tensor's", [1] * 10_000)


def _bombs(corpus: Corpus) -> None:
    """Small files that ask for large work while their types are computed."""

    def zeros(document: dict, *sizes: int) -> dict:
        call(document, "bomb", "aten.zeros.default", [list(sizes)])
        return {"node": "bomb"}

    corpus.edit(
        "bomb-unbind",
        "a list of tensors, one for every item of a huge dimension",
        lambda d: call(d, "boom", "aten.unbind.int", [zeros(d, 2**40)]),
    )
    corpus.edit("bomb-split", "the same by split", lambda d: call(d, "boom", "aten.split.Tensor", [zeros(d, 2**40), 1]))
    corpus.edit(
        "bomb-chunk", "the same by chunk", lambda d: call(d, "boom", "aten.chunk.default", [zeros(d, 2**40), 2**40])
    )
    corpus.edit(
        "bomb-sections",
        "the same by tensor_split, of no items at all",
        lambda d: call(d, "boom", "aten.tensor_split.sections", [zeros(d, 1), 2**40]),
    )
    corpus.edit("bomb-many", "many lists, each within bounds", _many_lists)
    corpus.edit("bomb-steps", "a recurrent layer over a huge sequence", _recurrent)
    corpus.edit("bomb-layers", "the same with fewer than no layers", lambda d: _recurrent(d, layers=-5))
    corpus.edit(
        "bomb-differences",
        "an op that repeats itself",
        lambda d: call(d, "boom", "aten.diff.default", [zeros(d, 2**40), 2**40]),
    )
    corpus.edit("bomb-power", "a number of a billion digits", lambda d: call(d, "boom", "operator.pow", [10, 10**9]))
    corpus.edit("bomb-product", "a number that doubles its digits forty times", _doubling)
    corpus.edit("bomb-size", "the same with a dynamic size", _growing_size)
    corpus.edit("bomb-list", "a list that is repeated a billion times", _repeated_list)
    corpus.edit(
        "bomb-dimensions",
        "a view of many dimensions",
        lambda d: call(d, "boom", "aten.view.default", [zeros(d, 1), [1] * 5000]),
    )
    corpus.edit(
        "bomb-data",
        "an op whose result depends on the data of a terabyte of zeros",
        lambda d: call(d, "boom", "aten.equal.default", [zeros(d, 2**38), {"node": "bomb"}]),
    )


def _many_lists(document: dict) -> None:
    call(document, "bomb", "aten.zeros.default", [[4000]])
    for index in range(50):
        call(document, f"boom_{index}", "aten.unbind.int", [{"node": "bomb"}])


def _recurrent(document: dict, layers: int = 1) -> None:
    call(document, "data", "aten.zeros.default", [[2**30, 2, 4]])
    call(document, "state", "aten.zeros.default", [[1, 2, 4]])
    call(document, "weight", "aten.zeros.default", [[4, 4]])
    weights = [{"node": "weight"}, {"node": "weight"}]
    args = [{"node": "data"}, {"node": "state"}, weights, False, layers, 0.0, False, False, False]
    call(document, "boom", "aten.rnn_tanh.input", args)


def _doubling(document: dict) -> None:
    call(document, "boom_0", "operator.mul", [2**60, 2**60])
    for index in range(40):
        call(document, f"boom_{index + 1}", "operator.mul", [{"node": f"boom_{index}"}, {"node": f"boom_{index}"}])


def _growing_size(document: dict) -> None:
    call(document, "boom_0", "aten.sym_size.int", [{"node": "x"}, 0])
    for index in range(40):
        call(document, f"odd_{index}", "operator.add", [{"node": f"boom_{index}"}, 1])
        call(document, f"boom_{index + 1}", "operator.mul", [{"node": f"boom_{index}"}, {"node": f"odd_{index}"}])


def _repeated_list(document: dict) -> None:
    call(document, "pieces", "aten.unbind.int", [{"node": "inner_weight"}])
    call(document, "boom", "operator.mul", [{"node": "pieces"}, 10**9])


def _json(corpus: Corpus) -> None:
    text = compact(corpus.document)
    for name, (reason, changed) in {
        "deep": ("brackets nested a hundred thousand deep", "[" * 100_000 + "]" * 100_000),
        "deep-objects": ("objects nested a hundred thousand deep", '{"a":' * 100_000),
        "deep-inside": ("the same inside a field", text[:-1] + ',"more":' + "[" * 100_000 + "]" * 100_000 + "}"),
        "open": ("text that does not end", text[:-5]),
        "not-a-number": ("a number that is none", text.replace('"symbols":{"s0":', '"symbols":{"s0":NaN,"s1":')),
        "infinite": ("a number beyond all", text.replace('"symbols":{"s0":', '"symbols":{"s0":1e999,"s1":')),
        "digits": (
            "a number of a million digits",
            text.replace('"symbols":{"s0":', '"symbols":{"s1":' + "9" * 10**6 + ',"s0":'),
        ),
        "twice": ("a field that is given twice", text.replace('{"fxcompress"', '{"pipeline":"x","fxcompress"', 1)),
        "list": ("a document that is a list", "[]"),
        "null": ("a document that is nothing", "null"),
        "surrogate": ("text that is no text", '{"\ud800":1}'),
        "quotes": ("a million quotes", '"' + '\\"' * 500_000),
    }.items():
        assert changed != text
        corpus.raw(f"json-{name}", reason, pack(corpus.metadata, corpus.document, corpus.blobs, text=changed))


def _containers(corpus: Corpus) -> None:
    length = int.from_bytes(corpus.good[:8], "little")
    header, rest = corpus.good[8 : 8 + length], corpus.good[8 + length :]
    entries = json.loads(header)

    def entry(name: str, reason: str, **fields: object) -> None:
        changed = copy.deepcopy(entries)
        changed["inner.weight"].update(fields)
        corpus.raw(f"container-{name}", reason, with_header(compact(changed), rest))

    entry("overlap", "tensors that overlap", data_offsets=[8, 72])
    entry("outside", "a tensor outside of the file", data_offsets=[2**40, 2**40 + 64])
    entry("negative", "a tensor before the file", data_offsets=[-64, 0])
    entry("shape", "a shape of another size", shape=[2**31, 2**31])
    entry("dtype", "another dtype than the document's", dtype="F64")
    entry("field", "a field that nobody knows", compression="zip")
    for name, reason, size in (
        ("huge", "a header longer than all memory", 2**63),
        ("long", "a header longer than the file", len(corpus.good)),
        ("short", "a header that is cut", length - 16),
        ("none", "no header", 0),
    ):
        corpus.raw(f"container-{name}", reason, size.to_bytes(8, "little") + corpus.good[8:])
    for name, reason, changed in (
        ("format", "another format", {"format": "pt"}),
        ("version-zero", "a version that never was", {"version": "0"}),
        ("version-text", "a version that is no number", {"version": CODE}),
        ("version-new", "a version to come", {"version": "999"}),
        ("field-metadata", "metadata that nobody knows", {"code": CODE}),
    ):
        corpus.raw(f"container-{name}", reason, pack({**corpus.metadata, **changed}, corpus.document, corpus.blobs))
    corpus.raw("container-padding", "code where only blanks may be", with_header(header.rstrip() + b"#code", rest))
    corpus.raw("container-hole", "bytes that belong to nobody", corpus.good + b"more")
    corpus.raw("container-bytes", "bytes that are no text", with_header(header.replace(b"fold", b"\xff\xfeld"), rest))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    corpus.raw("container-zip", "an archive that unfolds to more", packed.getvalue())
    corpus.raw("container-pickle", "a pickle that runs code", f"cbuiltins\nexec\n(S{CODE!r}\ntR.".encode())
