"""Plugins installed for real, by pip into folders of their own, and one process a folder that runs many commands."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from fxcompress.installed import GROUP
from fxcompress.plugins import DISABLE_AUTOLOAD
from fxcompress.skeleton import write_skeleton

PLUGINS = Path(__file__).parents[2] / "plugins"

# Runs commands one after the other: python takes seconds to import torch, so it is started once for all of them.
DRIVER = """
import contextlib, io, json, os, sys
from fxcompress.cli import main

outcomes = []
for arguments, environment in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), 0
    os.environ.update(environment)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as stop:
        code = stop.code or 0
    for name in environment:
        del os.environ[name]
    outcomes.append((code, out.getvalue(), err.getvalue()))
json.dump(outcomes, sys.stdout)
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def names(self):
        """The first word of every row of the table that it printed."""
        return [line.split()[0] for line in self.out.splitlines()[2:]]


@dataclass(frozen=True)
class Site:
    """A folder with installed distributions."""

    folder: Path

    @property
    def environment(self):
        kept = {name: value for name, value in os.environ.items() if name != DISABLE_AUTOLOAD}
        return {**kept, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}

    def run(self, commands):
        """Run commands `name: (arguments, environment)` in one process, in an environment where plugins load."""
        done = subprocess.run(
            [sys.executable, "-c", DRIVER],
            input=json.dumps(list(commands.values())),
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        return {name: Outcome(*ended) for name, ended in zip(commands, json.loads(done.stdout), strict=True)}


def install(folder, sources):
    """Install distributions from folders, without network and without what they depend on."""
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-compile", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *options, "--target", folder, *sources]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    return Site(folder)


@pytest.fixture(scope="session")
def skeleton(tmp_path_factory):
    """The folder of a skeleton as `fxcompress plugins new` writes it."""
    return write_skeleton("round-weights", tmp_path_factory.mktemp("skeleton"))


@pytest.fixture(scope="session")
def good(tmp_path_factory, skeleton):
    """A site with the plugins of this repository and a fresh skeleton."""
    sources = tmp_path_factory.mktemp("sources")
    for source in (*PLUGINS.glob("fxcompress-*"), skeleton):
        shutil.copytree(source, sources / source.name, ignore=shutil.ignore_patterns("build", "*.egg-info", "tests"))
    return install(tmp_path_factory.mktemp("good"), sorted(sources.iterdir()))


BROKEN = {
    "broken_mod": "import not_there\n",
    "failing_mod": "raise ValueError('a bad day')\n",
    "garbled_mod": "def register_passes(register:\n",
    "hookless_mod": "def register_passes(register): pass\n",
    "misspelt_mod": "import fxcompress as fxc\n@fxc.hookimpl\ndef register_pases(register): pass\n",
    "argument_mod": "import fxcompress as fxc\n@fxc.hookimpl\ndef register_passes(regster): pass\n",
    "raising_mod": "import fxcompress as fxc\n@fxc.hookimpl\ndef register_passes(register): register(nonsense)\n",
    "whole_mod": "import fxcompress as fxc\n@fxc.hookimpl\ndef register_passes(register): pass\n",
    "twins_mod": """
from dataclasses import dataclass
import fxcompress as fxc

@dataclass(frozen=True)
class First(fxc.Pass):
    "Do nothing."
    name = "twin"
    def apply(self, module, context):
        return module

@dataclass(frozen=True)
class Second(First):
    "Do nothing either."

@dataclass(frozen=True)
class Undocumented(First):
    name = "undocumented"

class Plugin:
    def __init__(self, cls):
        self.cls = cls
    @fxc.hookimpl
    def register_passes(self, register):
        register(self.cls)

first, second, undocumented, no_pass = Plugin(First), Plugin(Second), Plugin(Undocumented), Plugin(int)
""",
}
ENTRIES = {
    "argument": "argument_mod",
    "broken": "broken_mod",
    "failing": "failing_mod",
    "garbled": "garbled_mod",
    "hookless": "hookless_mod",
    "misspelt": "misspelt_mod",
    "missing": "whole_mod:absent",
    "moduleless": "no_such_module",
    "no-pass": "twins_mod:no_pass",
    "raising": "raising_mod",
    "shared": "whole_mod",
    "twin-a": "twins_mod:first",
    "twin-b": "twins_mod:second",
    "undocumented": "twins_mod:undocumented",
}


def write_distribution(folder, name, version, entries, modules):
    """Write a distribution of single modules with entry points."""
    folder.mkdir()
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    listed = "\n".join(f'{key} = "{value}"' for key, value in entries.items())
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\n[tool.setuptools]\npy-modules = {list(modules)}\n'
        f"[project.entry-points.fxcompress]\n{listed}\n"
    )
    return folder


@pytest.fixture(scope="session")
def bad(tmp_path_factory):
    """A site with a distribution of nothing but broken plugins, and one that brings a name for the second time."""
    sources = tmp_path_factory.mktemp("broken")
    first = write_distribution(sources / "first", "broken-dist", "1.2", ENTRIES, BROKEN)
    second = write_distribution(sources / "second", "other-dist", "0.3", {"shared": "other_mod"}, {"other_mod": ""})
    return install(tmp_path_factory.mktemp("bad"), [first, second])


@pytest.fixture(scope="session")
def blockable():
    """The names of the broken plugins, and of whole ones that may be installed where the tests run."""
    return sorted({*ENTRIES, *entry_points(group=GROUP).names})
