"""The skeleton of a plugin: names, all or nothing, and that what is written passes its own tests."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fxcompress.cli import main
from fxcompress.errors import UsageError
from fxcompress.skeleton import legal_name, write_skeleton

FILES = [
    "README.md",
    "pyproject.toml",
    "src/fxcompress_round_weights/__init__.py",
    "src/fxcompress_round_weights/round_weights.py",
    "tests/test_round_weights.py",
]


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_it_is_whole(skeleton):
    assert skeleton.name == "fxcompress-round-weights"
    assert files_in(skeleton) == FILES
    project = tomllib.loads((skeleton / "pyproject.toml").read_text())["project"]
    assert project["name"] == "fxcompress-round-weights"
    assert project["entry-points"]["fxcompress"] == {"round-weights": "fxcompress_round_weights"}
    for path in skeleton.rglob("*.py"):
        ast.parse(path.read_text())
    assert not any("${" in path.read_text() for path in skeleton.rglob("*") if path.is_file())


def test_its_tests_pass_where_it_is_installed(skeleton, good):
    """The installed package is tested and not the sources beside the tests, warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-o", "pythonpath="],
        cwd=skeleton,
        env=good.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_its_code_is_as_ours(skeleton):
    """The linter finds nothing in what is written."""
    pytest.importorskip("ruff")
    rules = Path(__file__).parents[2] / "pyproject.toml"
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", rules, "--ignore", "ANN001,ANN201", skeleton],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("RoundWeights", "round-weights"),
        ("round_weights", "round-weights"),
        ("Round Weights 2", "round-weights-2"),
        ("-round--weights-", "round-weights"),
        ("fxcompress-round", "round"),
        ("2nd", "nd"),
        ("class", "class-pass"),
        ("Für", "fur"),
        ("../evil", "evil"),
        ("a/b", "a-b"),
        ("", "my-pass"),
        ("***", "my-pass"),
    ],
)
def test_a_name_that_is_not_legal_brings_the_nearest(tmp_path, name, offered):
    with pytest.raises(UsageError, match=f"did you mean '{offered}'"):
        write_skeleton(name, tmp_path)
    assert files_in(tmp_path) == []
    assert legal_name(offered) == offered


@pytest.mark.parametrize("name", ["mask", "fold-bn", "tidy", "passes"])
def test_a_name_of_a_built_in_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=f"'{name}' is a built-in pass, pipeline or plugin"):
        write_skeleton(name, tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_nothing_is_written_over(tmp_path, make):
    make(tmp_path / "fxcompress-mine")
    with pytest.raises(UsageError, match="is there already"):
        write_skeleton("mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["fxcompress-mine"]


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        write_skeleton("mine", tmp_path / "nowhere")


@pytest.mark.parametrize("after", range(1, len(FILES)))
def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch, after):
    write_text, written = Path.write_text, []

    def failing(path, *given, **named):
        if len(written) == after:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write_text(path, *given, **named)

    monkeypatch.setattr(Path, "write_text", failing)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        write_skeleton("mine", tmp_path)
    assert len(written) == after
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_comes_next(tmp_path, capsys):
    main(["plugins", "new", "mine", "--into", str(tmp_path)])
    folder = tmp_path / "fxcompress-mine"
    assert folder.is_dir()
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {folder}",
        f"  pip install -e {folder}",
        f"  pytest {folder}",
        "  fxcompress passes mine",
    ]


def test_a_wrong_name_ends_the_command_with_two(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plugins", "new", "Mine!", "--into", str(tmp_path)])
    assert stop.value.code == 2
    assert "did you mean 'mine'" in capsys.readouterr().err
