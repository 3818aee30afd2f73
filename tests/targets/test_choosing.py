"""Which target writes a file, and targets of plugins."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.cli import main
from fxcompress.targets import target_for


@dataclasses.dataclass(frozen=True)
class Listing(fxc.Target):
    """The names of the parameters, a line each."""

    name = "listing"
    suffixes = (".lst",)
    upper: bool = fxc.option(False, help="in capital letters")

    def save(self, emitted, path):
        text = "\n".join(name for name, _ in emitted.module.named_parameters())
        path.write_text(text.upper() if self.upper else text)


class Plugin:
    def __init__(self, *classes):
        self.classes = classes

    @fxc.hookimpl
    def register_targets(self, register):
        for cls in self.classes:
            register(cls)


def plugins(*classes):
    made = fxc.Plugins(autoload=False)
    made.register(Plugin(*classes), "mine")
    return made


def result(given=None):
    return fxc.compress(nn.Linear(3, 2).eval(), (torch.randn(4, 3),), "eliminate-dead-nodes", plugins=given)


def test_the_suffix_chooses_and_a_name_goes_before_it(tmp_path):
    made = result(plugins(Listing))
    made.save(tmp_path / "a.lst")
    made.save(tmp_path / "b.txt", "listing{upper=true}")
    made.save(tmp_path / "c.txt", Listing(upper=True))
    made.save(str(tmp_path / "d.fxc"))
    assert (tmp_path / "a.lst").read_text() == "weight\nbias"
    assert (tmp_path / "b.txt").read_text() == (tmp_path / "c.txt").read_text() == "WEIGHT\nBIAS"
    assert fxc.load(tmp_path / "d.fxc").pipeline == "eliminate-dead-nodes"


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("m.onx", None, "did you mean '.onnx'"),
        ("m", None, "needs a suffix"),
        ("m.safetensors", None, "no target writes files '.safetensors'"),
        ("m.fxc", "onx", "did you mean 'onnx'"),
        ("m.fxc", "onnx{opste=21}", "did you mean 'opset'"),
        ("m.fxc", "onnx{opset=7}", "at least 21"),
        ("m.fxc", "onnx,pt2", "one target is enough"),
        ("m.fxc", "onnx{dynamic=channel}", "token"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest_name(tmp_path, name, target, said):
    with pytest.raises(fxc.FxcompressError, match=said) as raised:
        result().save(tmp_path / name, target)
    assert raised.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_built_in_targets_are_a_plugin_that_can_be_blocked():
    kept, blocked = fxc.Plugins(autoload=False), fxc.Plugins(["no:targets"], autoload=False)
    assert list(kept.targets.entries) == ["fxc", "onnx", "pt2"]
    with pytest.raises(fxc.FxcompressError, match="no target writes"):
        target_for(Path("m.fxc"), None, blocked)


def without(**changed):
    return type("Bad", (Listing,), {"__doc__": "Bad.", **changed})


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (dict, "is no target class"),
        (dataclasses.dataclass(frozen=True)(without(name="")), "kebab case"),
        (dataclasses.dataclass(frozen=True)(without(suffixes=("lst",))), "suffixes"),
        (dataclasses.dataclass(frozen=True)(without(save=fxc.Target.save)), "no save method"),
        (dataclasses.dataclass(frozen=True)(without(name="fxc", suffixes=())), "registered twice"),
        (dataclasses.dataclass(frozen=True)(without(name="other", suffixes=(".fxc",))), "'.fxc' is registered twice"),
    ],
)
def test_a_class_that_breaks_the_contract_is_named(cls, said):
    with pytest.raises(fxc.FxcompressError, match=said) as raised:
        plugins(cls)
    assert "mine" in str(raised.value)


MODEL = """
import torch
def factory():
    return torch.nn.Linear(3, 2).eval(), (torch.randn(4, 3),)
"""


def run(tmp_path, *words):
    """Run the command in this process; return its exit code."""
    (tmp_path / "model.py").write_text(MODEL)
    model = f"{tmp_path / 'model.py'}:factory"
    try:
        main(["compress", model, "--pipeline", "quantize", "-q", *words])
    except SystemExit as stopped:
        return stopped.code
    return 0


def test_the_command_line_writes_what_the_suffix_or_the_target_says(tmp_path):
    assert run(tmp_path, "-o", str(tmp_path / "m.pt2")) == 0
    assert run(tmp_path, "-o", str(tmp_path / "m.bin"), "--target", "fxc") == 0
    program, x = torch.export.load(tmp_path / "m.pt2"), torch.randn(5, 3)
    assert program.module()(x).shape == fxc.load(tmp_path / "m.bin").module(x).shape == (5, 2)


def test_the_command_line_refuses_before_it_runs(tmp_path, capsys):
    assert run(tmp_path, "-o", str(tmp_path / "m.onx")) == 2
    assert "did you mean '.onnx'" in capsys.readouterr().err
    assert not (tmp_path / "m.onx").exists()
