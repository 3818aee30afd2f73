"""Coded files: what is saved comes back to the bit, whatever the coder; and what they are made of."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import struct
from typing import get_args, get_type_hints

import pytest
import torch
from safetensors import safe_open
from torch import nn

import fxcompress as fxc
from fxcompress.capturing import Inputs, capture
from fxcompress.coding import CODERS
from fxcompress.errors import ArtifactError, UsageError
from fxcompress.targets import list_artifact, load_artifact, save_artifact
from fxcompress.targets.document_words import WORDS
from fxcompress.targets.frame_list import FRAME
from fxcompress.targets.fxc import Fxc
from targets.forge import unpack_coded

CODINGS = ("auto", *CODERS)
DTYPES = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz", "float4_e2m1fn_x2"),
    *("bfloat16", "float16", "float32", "float64", "complex32", "complex64", "complex128"),
)
SHAPES = ((), (0,), (3, 0, 2), (1,), (7,), (5, 3), (2, 3, 4, 5), (40, 60))


@pytest.fixture
def module():
    return capture(nn.Sequential(nn.Linear(30, 40), nn.ReLU()), (torch.randn(2, 30),), dynamic="none").module


def sparse_bytes(count, chance):
    """Bytes of which most are zero."""
    return torch.where(torch.rand(count) < chance, torch.randint(0, 256, (count,)), 0).to(torch.uint8)


def tensors_of(dtype):
    for index, shape in enumerate(SHAPES):
        width = math.prod(shape) * torch.empty(0, dtype=dtype).itemsize
        for kind, chance in (("dense", 1.0), ("sparse", 0.05)):
            content = sparse_bytes(width, chance)
            content = content & 1 if dtype == torch.bool else content
            tensor = content.view(dtype).reshape(shape) if width else torch.empty(shape, dtype=dtype)
            yield f"{kind}_{index}", tensor


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_shape_comes_back_to_the_bit(module, tmp_path, coding, dtype):
    given = dict(tensors_of(getattr(torch, dtype)))
    for name, tensor in given.items():
        module.register_buffer(name, tensor)
    save_artifact(tmp_path / "file.fxc", module, coding=coding)
    loaded = load_artifact(tmp_path / "file.fxc")
    assert loaded.versions["format"] == "2"
    state = loaded.module.state_dict()
    for name, tensor in given.items():
        assert state[name].dtype == tensor.dtype
        assert state[name].shape == tensor.shape
        assert state[name].stride() == tensor.stride()
        assert torch.equal(bits(state[name]), bits(tensor)), name


@pytest.mark.parametrize("coding", CODINGS)
def test_zeros_with_signs_and_all_kinds_of_nan_stay(module, tmp_path, coding):
    patterns = [0x00000000, 0x80000000, 0x7FC00000, 0x7FC00001, 0xFFC12345, 0x7F800001, 0x7F800000, 0x00000001]
    words = torch.tensor([p - 2**32 if p >= 2**31 else p for p in patterns], dtype=torch.int32)
    module.register_buffer("odd", words[torch.randint(0, 8, (50, 20)) * (torch.rand(50, 20) < 0.2)].view(torch.float32))
    save_artifact(tmp_path / "file.fxc", module, coding=coding)
    found = load_artifact(tmp_path / "file.fxc").module.odd
    assert torch.equal(found.view(torch.int32), module.odd.view(torch.int32))


def test_results_inputs_notes_and_plan_come_back(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
    inputs = Inputs(torch.randn(2, 3, 8, 8))
    model(*inputs.args)
    result = fxc.compress(model.eval(), inputs, "prune{ratio=0.25},quantize{scheme=w8a16}")
    result.save(tmp_path / "coded.fxc", coding="auto")
    result.save(tmp_path / "plain.fxc")
    coded, plain = fxc.load(tmp_path / "coded.fxc"), fxc.load(tmp_path / "plain.fxc")
    other = torch.randn(5, 3, 8, 8)
    assert torch.equal(coded.module(other), result.module(other))
    assert (coded.pipeline, coded.notes, coded.plan) == (plain.pipeline, plain.notes, plain.plan)
    assert torch.equal(coded.inputs.args[0], inputs.args[0])
    assert coded.plan
    assert os.path.getsize(tmp_path / "coded.fxc") < 0.6 * os.path.getsize(tmp_path / "plain.fxc")
    fxc.compress(coded, None, "clip{limit=9}").save(tmp_path / "again.fxc", coding="auto")


def test_a_tied_tensor_is_stored_once_and_stays_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(self.one(x))

    save_artifact(tmp_path / "tied.fxc", capture(Tied(), (torch.randn(2, 6),)).module, coding="auto")
    loaded = load_artifact(tmp_path / "tied.fxc").module
    assert loaded.one.weight is loaded.two.weight


def test_saving_twice_gives_the_same_bytes(module, tmp_path):
    for name in ("one", "two"):
        save_artifact(tmp_path / name, module, coding="auto")
    save_artifact(tmp_path / "three", load_artifact(tmp_path / "one").module, coding="auto")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()


def test_the_plain_file_is_the_one_of_before(module, tmp_path):
    save_artifact(tmp_path / "plain.fxc", module)
    save_artifact(tmp_path / "none.fxc", module, coding="none")
    assert (tmp_path / "plain.fxc").read_bytes() == (tmp_path / "none.fxc").read_bytes()
    assert load_artifact(tmp_path / "plain.fxc").versions["format"] == "1"


def test_tensors_of_many_frames(module, tmp_path):
    long = torch.zeros(2 * FRAME + 5, dtype=torch.uint8)
    long[FRAME - 1 : FRAME + 9], long[-1] = 3, 200
    module.register_buffer("long", long)
    save_artifact(tmp_path / "long.fxc", module, coding="auto")
    assert torch.equal(load_artifact(tmp_path / "long.fxc").module.long, long)
    assert os.path.getsize(tmp_path / "long.fxc") < 6000
    document, _ = unpack_coded((tmp_path / "long.fxc").read_bytes(), WORDS)
    assert len(next(one for one in document["payloads"] if one["name"] == "long")["coded"]) == 3


def test_what_unfolds_to_much_is_filled_up_with_zeros(module, tmp_path):
    """So that a reader can bound what any file unfolds to."""
    size = 40 << 20
    module.register_buffer("zeros", torch.zeros(size, dtype=torch.uint8))
    save_artifact(tmp_path / "zeros.fxc", module, coding="auto")
    assert (size - (16 << 20)) / 1024 < os.path.getsize(tmp_path / "zeros.fxc") < size / 1024
    assert not load_artifact(tmp_path / "zeros.fxc").module.zeros.any()


def test_the_layout_is_the_documented_one(module, tmp_path):
    """Read with nothing of the code but the dictionary, and for the other readers of safetensors."""
    path = tmp_path / "file.fxc"
    save_artifact(path, module, pipeline="clip", coding="raw")
    document, frames = unpack_coded(path.read_bytes(), WORDS)
    assert document["pipeline"] == "clip"
    state = module.state_dict()
    place = 0
    for payload in document["payloads"]:
        assert set(payload) == {"name", "dtype", "shape", "coded"}
        ((coder, size),) = payload["coded"]
        assert coder == "raw"
        numbers = struct.unpack(f"<{size // 4}f", frames[place : place + size])
        assert torch.equal(torch.tensor(numbers).reshape(payload["shape"]), state[payload["name"]])
        place += size
    assert place == len(frames)
    with safe_open(path, framework="pt") as file:
        assert list(file.keys()) == ["coded"]
        assert file.metadata()["version"] == "2"


def test_progress_names_every_tensor(module, tmp_path):
    lines = []
    save_artifact(tmp_path / "file.fxc", module, coding="auto", progress=lines.append)
    assert lines == [f"code {name} ({index + 1} of 2)" for index, name in enumerate(module.state_dict())]


def test_the_target_takes_every_coder():
    option = next(field for field in dataclasses.fields(Fxc) if field.name == "coding")
    assert set(get_args(get_type_hints(Fxc)["coding"])) == {"none", *CODINGS}
    assert option.default == "none"


def test_a_wrong_coding_and_a_target_without_one_are_said(module, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'auto'"):
        save_artifact(tmp_path / "file.fxc", module, coding="auot")
    result = fxc.compress(nn.Linear(2, 2).eval(), (torch.ones(1, 2),), "tidy")
    with pytest.raises(UsageError, match="'onnx' has no coding"):
        result.save(tmp_path / "file.onnx", coding="auto")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ArtifactError("no")])
def test_a_failure_while_coding_leaves_the_old_file(module, tmp_path, monkeypatch, error):
    path = tmp_path / "file.fxc"
    save_artifact(path, module)
    before = path.read_bytes()

    def fail(*args):
        raise error

    monkeypatch.setattr("fxcompress.targets.frames.encode_block", fail)
    with pytest.raises(type(error)):
        save_artifact(path, module, coding="auto")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.fxc"]


def test_the_listing_tells_where_the_bytes_go(module, tmp_path):
    module.register_buffer("codes", torch.tensor([[0, 0, 0, 1], [0, 2, 0, 0]], dtype=torch.uint8).repeat(50, 10))
    inputs = Inputs(torch.zeros(2, 30))
    save_artifact(tmp_path / "file.fxc", module, inputs=inputs, coding="auto")
    listing = list_artifact(tmp_path / "file.fxc")
    rows = {row.tensor: row for row in listing.rows}
    assert set(rows) == {*module.state_dict(), ".input.0"}
    assert rows["codes"].density == 0.25
    # Three quarters zeros, an eighth ones, an eighth twos.
    assert rows["codes"].entropy == pytest.approx(0.75 * math.log2(4 / 3) + 0.25 * 3, abs=1e-6)
    assert rows["codes"].bits == pytest.approx(8 * rows["codes"].bytes / 4000)
    totals = listing.totals()
    assert totals["file"] == os.path.getsize(tmp_path / "file.fxc")
    assert totals["model as float32"] == 4 * (30 * 40 + 40 + 4000)
    assert totals["tensors"] + totals["graph and header"] == totals["file"]
    assert json.loads(json.dumps(listing.to_dict()))["version"] == 2
    assert "times smaller" in str(listing)


def test_a_plain_file_is_listed_too(module, tmp_path):
    save_artifact(tmp_path / "file.fxc", module)
    listing = list_artifact(tmp_path / "file.fxc")
    assert {row.coder for row in listing.rows} == {"raw"}
    assert sum(row.bytes for row in listing.rows) == 4 * (30 * 40 + 40)
