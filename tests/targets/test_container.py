"""The file itself: every byte counts."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fxcompress.capturing import capture
from fxcompress.errors import ArtifactError
from fxcompress.targets import load_artifact, save_artifact
from targets.forge import compact, pack, unpack, with_header


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("good") / "good.fxc"
    save_artifact(path, capture(nn.Linear(3, 2), (torch.randn(2, 3),), dynamic="none").module, pipeline="clip")
    return path.read_bytes()


def refused(path, data, match="."):
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=match) as caught:
        load_artifact(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_the_forge_writes_what_the_code_writes(good):
    metadata, document, blobs = unpack(good)
    assert pack(metadata, document, blobs) == good


def test_every_flipped_byte_is_found(good, tmp_path):
    path = tmp_path / "flipped.fxc"
    for place in range(len(good)):
        flipped = bytearray(good)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        with pytest.raises(ArtifactError):
            load_artifact(path)


def test_every_cut_is_found(good, tmp_path):
    for length in [*range(0, len(good), 7), len(good) - 1]:
        refused(tmp_path / "cut.fxc", good[:length])
    refused(tmp_path / "long.fxc", good + b"\0", "cut short or added to")


def test_a_newer_format_says_what_reads_it(good, tmp_path):
    metadata, document, blobs = unpack(good)
    newer = pack({**metadata, "version": "3", "fxcompress": "7.1.0"}, document, blobs)
    refused(
        tmp_path / "newer.fxc", newer, r"format version 3; this fxcompress reads up to 2\n.*fxcompress '7.1.0' or later"
    )


def test_a_newer_format_may_have_other_metadata(good, tmp_path):
    newer = {"format": "fxcompress", "version": "3", "fxcompress": "9.0", "graphs": "elsewhere"}
    refused(tmp_path / "newer.fxc", with_header(compact({"__metadata__": newer}), b""), "9.0")


def test_other_files_are_no_artifacts(tmp_path):
    save_file({"x": torch.ones(3)}, tmp_path / "plain.safetensors")
    torch.save({"x": torch.ones(3)}, tmp_path / "torch.pt")
    for name, data in {
        "plain": (tmp_path / "plain.safetensors").read_bytes(),
        "torch": (tmp_path / "torch.pt").read_bytes(),
        "pickle": pickle.dumps({"x": 1}),
        "empty": b"",
        "text": b"fold-bn, mask{sparsity=0.5}\n" * 9,
        "zeros": bytes(1000),
    }.items():
        refused(tmp_path / name, data, "artifact|nests deeper|graph|JSON")


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "null", "type", "locked", "folder missing"])
def test_what_cannot_be_read_is_said(tmp_path, what):
    path = tmp_path / "file.fxc"
    if what == "folder":
        path.mkdir()
    if what == "pipe":
        os.mkfifo(path)
    if what == "locked":
        path.write_bytes(b"x")
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user reads every file")
    given = {"null": "a\0b", "type": 3, "folder missing": tmp_path / "not" / "there.fxc"}.get(what, path)
    with pytest.raises(ArtifactError) as caught:
        load_artifact(given)
    assert caught.value.hint


def test_a_loaded_module_does_not_depend_on_its_file(good, tmp_path):
    path = tmp_path / "gone.fxc"
    path.write_bytes(good)
    module = load_artifact(path).module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    path.write_bytes(bytes(len(good)))
    path.unlink()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])
        tensor.add_(1)
