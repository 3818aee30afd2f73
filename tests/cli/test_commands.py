"""The command line: results on stdout, two or three lines that say what to do on stderr, exit codes 0, 1 and 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import fxcompress as fxc
from fxcompress.cli import main

MODEL = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, image):
        return self.head(torch.relu(self.bn(self.conv(image))).mean((2, 3)))


def tiny():
    torch.manual_seed(0)
    return Tiny().eval(), (torch.randn(2, 1, 6, 6),)


def scored():
    model, inputs = tiny()
    return {"model": model, "inputs": inputs, "evaluate": lambda module: float(module(*inputs).argmax(1).sum())}


def broken():
    return {}["weights"]


def odd():
    return {"model": tiny()[0], "inputs": tiny()[1], "calibrate": []}


def number():
    return 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("model", None)
    yield tmp_path
    sys.modules.pop("model", None)


def call(capsys, *arguments):
    """Run the command line; return exit code, stdout, stderr."""
    code = 0
    try:
        main(list(arguments))
    except SystemExit as stopped:
        code = stopped.code or 0
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_compress_saves_shows_and_writes_the_page(place, capsys):
    code, out, err = call(
        capsys,
        "compress",
        "model.py:scored",
        "--pipeline",
        "fold-bn,mask{sparsity=0.5}",
        "-o",
        "m.fxc",
        "--report",
        "r.html",
    )
    assert code == 0, err
    assert "parameters" in out
    assert "evaluate" in out
    assert "fold-bn" in out
    assert "wrote m.fxc" in out
    assert fxc.load("m.fxc").pipeline == "fold-bn,mask"
    assert "<html" in Path("r.html").read_text()


def test_compress_as_json_prints_nothing_else(place, capsys):
    code, out, err = call(capsys, "compress", "model.py:tiny", "--pipeline", "fold-bn", "--json", "-q")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["pipeline"] == "fold-bn"


def test_compress_takes_a_recipe_and_an_artifact(place, capsys):
    Path("r.toml").write_text('pipeline = """\n  fold-bn,\n  quantize{scheme=w8a16}\n"""\nseed = 3\n')
    assert call(capsys, "compress", "model.py:tiny", "--recipe", "r.toml", "-o", "a.fxc")[0] == 0
    assert call(capsys, "compress", "a.fxc", "--pipeline", "eliminate-dead-nodes", "-o", "b.fxc")[0] == 0
    code, out, _ = call(capsys, "diff", "a.fxc", "b.fxc")
    assert code == 0
    assert "no change" in out


def test_a_module_on_the_path_serves_too(place, capsys):
    assert call(capsys, "compress", "model:tiny", "--pipeline", "fold-bn", "--no-run")[0] == 0


def test_diff_shows_nodes_lines_a_module_json_and_a_page(place, capsys):
    call(capsys, "compress", "model.py:tiny", "--pipeline", "fold-bn", "-o", "a.fxc")
    code, out, _ = call(capsys, "diff", "model.py:tiny", "a.fxc", "--html", "d.html")
    assert code == 0
    assert out.startswith("--- model.py:tiny")
    assert "- %batch_norm" in out
    assert "<html" in Path("d.html").read_text()
    assert "batch_norm" not in call(capsys, "diff", "model.py:tiny", "a.fxc", "--stat")[1]
    assert json.loads(call(capsys, "diff", "model.py:tiny", "a.fxc", "--json")[1])


def test_inspect_shows_the_graph_and_the_cost(place, capsys):
    assert "conv2d(%image" in call(capsys, "inspect", "model.py:tiny")[1]
    out = call(capsys, "inspect", "model.py:tiny", "--cost")[1]
    assert f"{2 * 4 * 4 * 4 * 9 + 2 * 4 * 3:,}" in out
    assert json.loads(call(capsys, "inspect", "model.py:tiny", "--cost", "--json")[1])["macs"] == 2 * 4 * 4 * 4 * 9 + 24
    assert json.loads(call(capsys, "inspect", "model.py:tiny", "--json")[1])


def test_a_coded_file_is_written_and_listed(place, capsys):
    arguments = ("compress", "model.py:tiny", "--pipeline", "mask{sparsity=0.9},quantize", "-o", "c.fxc")
    code, out, err = call(capsys, *arguments, "--coding", "auto")
    assert code == 0, err
    size = Path("c.fxc").stat().st_size
    assert f"wrote c.fxc ({size:,} bytes)" in out
    assert fxc.load("c.fxc").versions["format"] == "2"
    out = call(capsys, "inspect", "c.fxc")[1]
    assert "coder" in out
    assert f"{size:,}" in out
    assert json.loads(call(capsys, "inspect", "c.fxc", "--json")[1])["totals"]["file"] == size
    assert "conv2d(%image" in call(capsys, "inspect", "c.fxc", "--graph")[1]
    code, _, err = call(capsys, *arguments, "--coding", "ziip")
    assert code == 2
    assert "coding" in err


def test_passes_lists_and_shows_a_page(capsys):
    out = call(capsys, "passes")[1]
    assert "mask" in out
    assert "tidy" in out
    page = call(capsys, "passes", "mask")[1]
    assert "sparsity" in page
    assert "between 0 and 1" in page
    code, _, err = call(capsys, "passes", "msak")
    assert code == 2
    assert "did you mean 'mask'?" in err


def test_plugins_are_listed_and_blocked(capsys):
    assert "passes" in call(capsys, "plugins")[1]
    code, _, err = call(capsys, "passes", "mask", "-p", "no:passes")
    assert code == 2
    assert "there is no pass 'mask'" in err
    assert "did you mean 'passes'?" in call(capsys, "plugins", "-p", "no:pases")[2]


def test_bench_times_in_turns(place, capsys):
    call(capsys, "compress", "model.py:tiny", "--pipeline", "fold-bn", "-o", "a.fxc")
    code, out, err = call(capsys, "bench", "model.py:tiny", "a.fxc", "--seconds", "0.2")
    assert code == 0, err
    assert "1.00x" in out
    rows = json.loads(call(capsys, "bench", "model.py:tiny", "a.fxc", "--seconds", "0.2", "--json")[1])
    assert [row["name"] for row in rows] == ["model.py:tiny", "a.fxc"]
    assert all(row["median"] > 0 for row in rows)


def test_a_failing_step_leaves_a_folder_that_reproduces_it(place, capsys):
    arguments = ("compress", "model.py:tiny", "--pipeline", "fold-bn,clip", "--reproduce", "failed", "-o", "m.fxc")
    code, _, err = call(capsys, *arguments)
    assert code == 1
    assert "step 2 of 2, clip (plugin 'passes'), failed: no range is given" in err
    assert not Path("m.fxc").exists()
    assert "batch_norm" not in str(fxc.load("failed/before.fxc").module.graph)
    code, _, again = call(capsys, "reproduce", "failed")
    assert code == 1
    assert "clip (plugin 'passes'), failed: no range is given" in again


WRONG_CALLS = [
    (["compress", "gone.py:tiny", "--pipeline", "mask"], ["there is no file 'gone.py'"]),
    (["compress", "modle.py:tiny", "--pipeline", "mask"], ["there is no file 'modle.py'", "did you mean 'model.py'?"]),
    (["compress", "model.py:tony", "--pipeline", "mask"], ["no factory 'tony'", "did you mean 'tiny'?"]),
    (
        ["compress", "model.py:broken", "--pipeline", "mask"],
        ["factory model.py:broken failed: KeyError: 'weights'", "model.py:"],
    ),
    (["compress", "model.py:odd", "--pipeline", "mask"], ["unknown key 'calibrate'", "did you mean 'calibration'?"]),
    (["compress", "model.py:number", "--pipeline", "mask"], ["returned int", "(model, example_inputs)"]),
    (["compress", "model.py", "--pipeline", "mask"], ["'model.py' names no model", "path/to/file.py:factory"]),
    (["compress", "no_such_module:f", "--pipeline", "mask"], ["module 'no_such_module' does not import"]),
    (["compress", "model.py:tiny", "--pipeline", "mask{sparsty=0.5}"], ["^^^^^^^", "did you mean 'sparsity'?"]),
    (["compress", "model.py:tiny"], ["either --pipeline TEXT or --recipe FILE"]),
    (["compress", "model.py:tiny", "--recipe", "gone.toml"], ["recipe 'gone.toml' cannot be read"]),
    (["compress", "model.py:tiny", "--pipeline", "mask", "-o", "no/such/m.fxc"], ["there is no folder 'no/such'"]),
    (["compress", "model.py:tiny", "--pipeline", "mask", "-i", "memroy"], ["there is no instrument 'memroy'"]),
    (["compress", "gone.fxc", "--pipeline", "mask"], ["gone.fxc"]),
    (["reproduce", "gone"], ["'gone' holds no failed step"]),
    (["diff", "gone.fxc", "model.py:tiny"], ["gone.fxc"]),
    (["nonsense"], ["No such command 'nonsense'"]),
    (["compress", "model.py:tiny", "--seed", "x"], ["--seed"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG_CALLS, ids=lambda value: value[1] if value[1:] else None)
def test_a_wrong_call_says_what_to_do_in_a_few_lines(place, capsys, arguments, words):
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 5, err
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pipeline = 3", "pipeline takes str, not 3"),
        ("pipelin = 'mask'", "did you mean 'pipeline'?"),
        ("seed = 1", "has no pipeline"),
        ("pipeline = ", "is no TOML"),
    ],
)
def test_a_wrong_recipe_is_named(place, capsys, text, words):
    Path("r.toml").write_text(text)
    code, _, err = call(capsys, "compress", "model.py:tiny", "--recipe", "r.toml")
    assert code == 2
    assert "recipe 'r.toml'" in err
    assert words in err


def test_help_does_not_import_torch():
    script = "import sys\nimport fxcompress.cli\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_progress_is_said_only_of_long_steps(capsys, monkeypatch):
    from fxcompress.cli import progress

    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.05)
    import time

    with progress.Progress() as say:
        say("short")
        say("long")
        time.sleep(0.2)
    with progress.Progress(quiet=True) as say:
        say("quiet")
        time.sleep(0.1)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "long ..." in shown.err
    assert "short" not in shown.err
    assert "quiet" not in shown.err
