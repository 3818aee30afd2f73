"""Saving: what cannot be saved is named before anything is written, and a file is there whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fxcompress.capturing import Inputs, capture
from fxcompress.errors import ArtifactError
from fxcompress.targets import load_artifact, save_artifact

aten = torch.ops.aten


@pytest.fixture
def module():
    return capture(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (torch.randn(2, 3),), dynamic="none").module


def insert(module, target, *args, op="call_function", **kwargs):
    output = module.graph.output_node()
    value = output.args[0][0]
    with module.graph.inserting_before(output):
        made = module.graph.create_node(op, target, (value, *args), kwargs)
    made.meta["val"] = value.meta["val"]
    output.args = ((made,),)
    return made


def refused(module, folder, *words, **options):
    path = folder / "refused.fxc"
    with pytest.raises(ArtifactError) as caught:
        save_artifact(path, module, **options)
    for word in words:
        assert word in str(caught.value)
    assert list(folder.iterdir()) == [], "nothing is written"
    return caught.value


def test_a_called_module_is_named(module, tmp_path):
    module.add_module("extra", nn.ReLU())
    node = insert(module, "extra", op="call_module")
    assert refused(module, tmp_path, f"%{node.name}", "call_module", "extra").hint


def test_a_called_method_is_named(module, tmp_path):
    refused(module, tmp_path, f"%{insert(module, 'relu', op='call_method').name}", "call_method")


@pytest.mark.parametrize("target", [torch.relu, print, os.system, aten.set_data.default, aten.resize_.default])
def test_a_function_that_is_not_allowed_is_named(module, tmp_path, target):
    node = insert(module, target)
    refused(module, tmp_path, f"%{node.name}", "" if target in (torch.relu, print, os.system) else "allow list")


def test_a_value_that_has_no_form_is_named(module, tmp_path):
    node = insert(module, aten.add.Tensor, object())
    refused(module, tmp_path, f"%{node.name}", "object")


def test_a_tensor_among_the_arguments_is_named(module, tmp_path):
    node = insert(module, aten.add.Tensor, torch.ones(4))
    refused(module, tmp_path, f"%{node.name}", "add_tensor")


def test_a_graph_that_does_not_hold_is_not_written(module, tmp_path):
    node = insert(module, aten.view.default, [7, 7])
    refused(module, tmp_path, f"%{node.name}")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("sparse", torch.eye(3).to_sparse()),
        ("nested", torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)),
        ("without_data", torch.empty(3, device="meta")),
    ],
)
def test_a_tensor_without_plain_bytes_is_named(module, tmp_path, name, tensor):
    module.register_buffer(name, tensor)
    refused(module, tmp_path, name)


def test_names_that_python_could_misread_are_refused(module, tmp_path):
    module.register_buffer('a"b', torch.ones(1))
    refused(module, tmp_path, "word that no module may have")


def test_what_is_no_graph_is_refused(tmp_path):
    assert "fxc.capture" in str(refused(nn.Linear(2, 2), tmp_path, "Linear").hint)


def test_inputs_that_have_no_form_are_refused(module, tmp_path):
    refused(module, tmp_path, "object", inputs=Inputs(object()))


def test_ops_of_other_libraries_need_to_be_allowed(module, tmp_path):
    library = torch.library.Library("fxc_test_other", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
    node = insert(module, torch.ops.fxc_test_other.twice.default)
    module.recompile()
    refused(module, tmp_path, f"%{node.name}", "fxc_test_other.twice.default", "allow=")
    path = tmp_path / "allowed.fxc"
    save_artifact(path, module, allow=["fxc_test_other.twice"])
    with pytest.raises(ArtifactError, match="allow list"):
        load_artifact(path)
    x = torch.randn(2, 3)
    assert torch.equal(load_artifact(path, allow=["fxc_test_other"]).module(x), module(x))


def test_a_folder_that_is_not_there_is_said(module, tmp_path):
    with pytest.raises(ArtifactError, match="cannot write"):
        save_artifact(tmp_path / "not" / "there.fxc", module)


def test_a_folder_a_link_and_a_pipe_are_not_replaced(module, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("folder", "a folder"), ("link", "symbolic link"), ("pipe", "no regular file")):
        with pytest.raises(ArtifactError, match=words):
            save_artifact(tmp_path / name, module)
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link", "pipe"]


def test_a_folder_that_takes_no_files_is_said(module, tmp_path):
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user writes everywhere")
        with pytest.raises(ArtifactError, match="ermission"):
            save_artifact(tmp_path / "x.fxc", module)
    finally:
        tmp_path.chmod(0o700)


def test_permissions_of_a_replaced_file_stay(module, tmp_path):
    path = tmp_path / "kept.fxc"
    path.write_bytes(b"old")
    path.chmod(0o640)
    save_artifact(path, module)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    umask = os.umask(0o027)
    try:
        save_artifact(tmp_path / "new.fxc", module)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new.fxc").stat().st_mode) == 0o640


@pytest.mark.parametrize("failing", ["fsync", "replace", "chmod", "write"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_the_old_file_alone(module, tmp_path, monkeypatch, failing, error):
    path = tmp_path / "file.fxc"
    save_artifact(path, module)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise error

    if failing == "write":
        monkeypatch.setattr("fxcompress.targets.container.bytes_of", fail)
    else:
        monkeypatch.setattr(f"fxcompress.files.os.{failing}", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ArtifactError):
        save_artifact(path, module, pipeline="another")
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.fxc"]
    assert path.read_bytes() == before


KILLS = 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("coding", ["none", "raw"])
def test_killed_at_any_moment_the_old_or_the_new_file_is_there(tmp_path, coding):
    script = Path(__file__).with_name("killed_while_saving.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(KILLS), coding], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) loaded, (\d+) of the first, (\d+) of the second, (\d+) killed while writing", done.stdout)
    loaded, first, second, writing = map(int, found.groups())
    assert loaded == KILLS
    assert first > 0
    assert second > 0
    assert first + second == KILLS
    assert writing > 0, "no kill fell into the writing: the test proves nothing"
