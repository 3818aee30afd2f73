"""Coded files that are damaged or made to do harm: refused, with little memory."""

from __future__ import annotations

import copy
import random
import tracemalloc
import zlib

import pytest
import torch
from torch import nn

from fxcompress.capturing import Inputs, capture
from fxcompress.errors import ArtifactError
from fxcompress.targets import load_artifact, save_artifact
from fxcompress.targets.document_words import WORDS
from targets.forge import pack_coded, unpack_coded
from targets.test_mutations import change, cut, digits, exchange, flip, insert, length, overwrite, remove

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("good") / "good.fxc"
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    with torch.no_grad():
        model[0].weight.mul_(torch.rand(8, 16) < 0.2)
    inputs = Inputs(torch.zeros(2, 16))
    save_artifact(path, capture(model, inputs).module, pipeline="mask", inputs=inputs, coding="auto")
    return path.read_bytes()


def refused(path, data, match="."):
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=match) as caught:
        load_artifact(path)
    assert caught.value.hint


def test_the_forge_writes_what_loads(good, tmp_path):
    (tmp_path / "forged.fxc").write_bytes(pack_coded(*unpack_coded(good, WORDS)))
    assert load_artifact(tmp_path / "forged.fxc").pipeline == "mask"


def test_every_flipped_byte_and_every_cut_is_found(good, tmp_path):
    for place in range(len(good)):
        flipped = bytearray(good)
        flipped[place] ^= 1 << (place % 8)
        refused(tmp_path / "flipped.fxc", bytes(flipped))
    for end in range(0, len(good), 5):
        refused(tmp_path / "cut.fxc", good[:end])
    refused(tmp_path / "long.fxc", good + b"\0")


def test_five_hundred_changes_of_bytes(good, tmp_path):
    chance = random.Random(3)
    for _ in range(500):
        changed = bytearray(good)
        chance.choice((flip, cut, insert, remove, overwrite, exchange, length, digits))(changed, chance)
        if changed != good:
            refused(tmp_path / "changed.fxc", bytes(changed))


def test_five_hundred_changes_of_fields_and_frames_behind_a_hash_that_fits(good, tmp_path):
    """The hash says who can be trusted not to have slipped; the coders and the document are checked all the same."""
    document, frames = unpack_coded(good, WORDS)
    chance = random.Random(4)
    path, loaded = tmp_path / "changed.fxc", 0
    for index in range(500):
        changed, body = copy.deepcopy(document), bytearray(frames)
        if index % 2:
            change(changed, chance)
        else:
            flip(body, chance)
        path.write_bytes(pack_coded(changed, bytes(body)))
        try:
            load_artifact(path)
            loaded += 1
        except ArtifactError:
            pass
    assert 0 < loaded < 450


def payload(document, name="0.weight"):
    return next(one for one in document["payloads"] if one["name"] == name)


def bombs(good):
    """Files by name that unfold to far more than they are, or say what is not so."""
    document, frames = unpack_coded(good, WORDS)

    def edited(edit, body=frames):
        changed = copy.deepcopy(document)
        edit(changed)
        return pack_coded(changed, body)

    def add(shape, coded, dtype="float32"):
        row = {"name": "more", "dtype": dtype, "shape": shape, "coded": coded}
        return lambda d: d["payloads"].append(row)

    constant = bytes.fromhex("00") + bytes(4)
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=WORDS)
    blanks = deflated.compress(b" " * 100 * MEGABYTE) + deflated.flush()
    return {
        "terabyte": edited(add([2**40], [["rans", 5]] * 2**19), frames + constant),
        "gigabyte": edited(add([2**28], [["rans", 5]] * 128), frames + constant * 128),
        "many frames": edited(add([2**21, 5], [["rans", 5]] * 5), frames + constant * 5),
        "no frames": edited(add([2**30], [])),
        "empty frame": edited(add([100], [["rans", 0]])),
        "long frame": edited(add([1], [["rans", 400]]), frames + bytes(400)),
        "short raw": edited(add([100], [["raw", 5]]), frames + constant),
        "unknown coder": edited(add([100], [["zip", 5]]), frames + constant),
        "coder is a list": edited(add([100], [[["raw"], 5]]), frames + constant),
        "size is a text": edited(add([100], [["raw", "5"]]), frames + constant),
        "negative size": edited(add([100], [["rans", -5]]), frames + constant),
        "frame of an empty tensor": edited(add([0], [["rans", 5]]), frames + constant),
        "hash of format 1": edited(lambda d: payload(d).update(sha256="0" * 64)),
        "no coder": edited(lambda d: payload(d).pop("coded")),
        "sizes exchanged": edited(lambda d: payload(d)["coded"][0].__setitem__(1, payload(d)["coded"][0][1] - 1)),
        "a hole": pack_coded(document, frames + b"more"),
        "zeros of nobody": pack_coded(document, frames + bytes(8)),
        "document of blanks": pack_coded(document, frames, packed=b"\1" + blanks),
        "document that does not end": pack_coded(document, frames, packed=b"\1" + blanks[:1000]),
        "document and more": pack_coded(document, frames, packed=b"\1\3\0" + b"more"),
        "no deflate": pack_coded(document, frames, packed=b"\1\xff\xff\xff"),
        "unknown packing": pack_coded(document, frames, packed=b"\7{}"),
        "no packing": pack_coded(document, frames, packed=b""),
        "document longer than the file": pack_coded(document, frames, length=2**32 - 1),
        "document shorter than it is": pack_coded(document, frames, length=5),
        "no text": pack_coded(document, frames, packed=b"\0\xff\xfe"),
        "another writer": edited(lambda d: d.update(fxcompress="9.9")),
        "writer is a number": edited(lambda d: d.update(fxcompress=9)),
        "version 1 around it": good.replace(b'"version":"2"', b'"version":"1"'),
    }


def test_no_bomb_takes_memory(good, tmp_path):
    for name, data in bombs(good).items():
        (tmp_path / "bomb.fxc").write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(ArtifactError) as caught:
                load_artifact(tmp_path / "bomb.fxc")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert caught.value.hint, name
        assert len(str(caught.value)) < 2500
        assert peak < 40 * MEGABYTE + 150 * len(data), f"{name}: {peak:,} bytes for a file of {len(data):,}"


def test_an_unknown_coder_says_what_to_do(good, tmp_path):
    refused(tmp_path / "later.fxc", bombs(good)["unknown coder"], "coded by 'zip', which is not known here")
