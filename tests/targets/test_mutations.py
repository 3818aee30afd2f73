"""Two thousand random changes of a file: an error, or the right tensors; never anything else."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import nn

from fxcompress.capturing import Inputs, capture
from fxcompress.errors import ArtifactError
from fxcompress.targets import load_artifact, save_artifact
from targets.forge import pack, unpack, with_header

BYTES, FIELDS = 1000, 1000
PLAN = {"inner.weight": {0: [0, 1, 3], 1: [1, 2]}, "inner.bias": {0: [0, 1, 3]}}


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4, bias=False)
        self.outer.weight = self.inner.weight

    def forward(self, x, *, scale):
        first, second = self.outer(self.inner(x)).chunk(2, dim=1)
        return {"a": torch.softmax(first, -1), "b": [second * scale]}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    torch.manual_seed(0)
    inputs = Inputs(torch.randn(3, 4), scale=torch.tensor(2.0))
    path = tmp_path_factory.mktemp("good") / "good.fxc"
    module = capture(Small(), inputs, dynamic="none").module
    save_artifact(path, module, pipeline="fold-bn", inputs=inputs, notes=["a note"], plan=PLAN)
    return path.read_bytes(), {name: tensor.clone() for name, tensor in module.state_dict().items()}, module.code


def flip(data, chance):
    for _ in range(chance.choice((1, 1, 1, 8))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data, chance):
    del data[chance.randrange(len(data)) :]


def insert(data, chance):
    data[(place := chance.randrange(len(data))) : place] = chance.randbytes(chance.choice((1, 8, 100)))


def remove(data, chance):
    del data[(place := chance.randrange(len(data))) : place + chance.choice((1, 8, 100))]


def overwrite(data, chance):
    place = chance.randrange(len(data))
    data[place : place + 8] = chance.choice(
        (b"\0" * 8, b"\xff" * 8, (2**40).to_bytes(8, "little"), chance.randbytes(8))
    )


def exchange(data, chance):
    one, other = sorted(chance.sample(range(len(data) - 16), 2))
    data[one : one + 8], data[other : other + 8] = data[other : other + 8], data[one : one + 8]


def length(data, chance):
    data[:8] = chance.choice((0, 1, len(data), len(data) - 8, 2**31, 2**63, chance.randrange(2**20))).to_bytes(
        8, "little"
    )


def digits(data, chance):
    """Change a number of the header, which is how sizes and offsets lie."""
    places = [i for i in range(8, len(data)) if chr(data[i]).isdigit()]
    data[chance.choice(places)] = ord(chance.choice("0123456789"))


def test_a_thousand_changes_of_bytes(good, tmp_path):
    data, state, code = good
    chance = random.Random(1)
    path = tmp_path / "changed.fxc"
    refused = 0
    for _ in range(BYTES):
        changed = bytearray(data)
        chance.choice((flip, flip, cut, insert, remove, overwrite, exchange, length, digits))(changed, chance)
        path.write_bytes(changed)
        try:
            loaded = load_artifact(path)
        except ArtifactError:
            refused += 1
            continue
        assert bytes(changed) == data
        assert loaded.module.code == code
        for name, tensor in loaded.module.state_dict().items():
            assert torch.equal(tensor, state[name])
    assert refused > 0.95 * BYTES


VALUES = [
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308),
    *("", "x", "self", "output", "*", "__class__", "lambda", "a.b", "\0", "\ud800", "x" * 5000, "aten.relu.default"),
    *("operator.mul", "aten.add_.Tensor", "float32", "int8", "bool", [], {}, [[]], [0], [2**40, 2**40], {"": None}),
    *(
        {"node": "x"},
        {"tuple": []},
        {"float": "nan"},
        {"tensor": ".input.0"},
        {"dict": [["k", 1]]},
        {"slice": [None, 1, 2]},
    ),
]


def places(value, path=()):
    """Yield the path of every value inside of `value`."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def change(document, chance):
    """Replace, swap, remove, double or rename something anywhere in the document."""
    paths = [path for path in places(document) if path]
    *way, key = chance.choice(paths)
    holder = at(document, way)
    what = chance.choice(("replace", "replace", "swap", "remove", "double", "rename", "nudge"))
    if what == "replace":
        holder[key] = copy.deepcopy(chance.choice(VALUES))
    elif what == "swap":
        *other_way, other_key = chance.choice(paths)
        other = at(document, other_way)
        holder[key], other[other_key] = copy.deepcopy(other[other_key]), copy.deepcopy(holder[key])
    elif what == "remove":
        del holder[key]
    elif what == "double" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif what == "rename" and isinstance(holder, dict):
        holder[chance.choice(("x", "", "target", "args", "kwargs", "scope"))] = holder.pop(key)
    elif isinstance(holder[key], int):
        holder[key] += chance.choice((-1, 1, 7, 2**20))
    elif isinstance(holder[key], str):
        holder[key] += chance.choice(("_1", ".x", " ", "'", '"'))


def test_a_thousand_changes_of_fields(good, tmp_path):
    """Hashes and sizes are made to fit, so that the changes get past them to what reads the document."""
    data, state, _ = good
    metadata, document, blobs = unpack(data)
    chance = random.Random(2)
    path = tmp_path / "changed.fxc"
    loaded = 0
    for _ in range(FIELDS):
        changed = copy.deepcopy(document)
        for _ in range(chance.choice((1, 1, 1, 2))):
            change(changed, chance)
        path.write_bytes(pack(metadata, changed, blobs))
        try:
            module = load_artifact(path).module
        except ArtifactError:
            continue
        loaded += 1
        originals = [tensor.flatten().view(torch.uint8) for tensor in state.values()]
        for tensor in module.state_dict().values():
            assert any(torch.equal(tensor.flatten().view(torch.uint8), original) for original in originals)
    assert 0 < loaded < FIELDS / 2


def test_an_empty_header_of_every_length_is_refused(tmp_path):
    for count in range(0, 200, 3):
        (tmp_path / "empty.fxc").write_bytes(with_header(b"{}" + b" " * count, b""))
        with pytest.raises(ArtifactError):
            load_artifact(tmp_path / "empty.fxc")
