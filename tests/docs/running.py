"""Runs the blocks of a page in an empty folder, as a reader would who types them in."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import runpy
import shlex
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import fxcompress.cli.progress
import fxcompress.installed
import fxcompress.reporting
from docs.pages import Block
from fxcompress.cli import main
from fxcompress.plugins import DISABLE_AUTOLOAD

# They train for a minute, and have tests of their own.
LONG = {"demo"}


class PageRun:
    """One run of a page.

    Args:
        page: its path, for tracebacks.
        folder: an empty folder, which the page is run in.
        monkeypatch: undoes what the run changes in this process.
    """

    def __init__(self, page: Path, folder: Path, monkeypatch) -> None:
        self.page, self.folder, self.monkeypatch = page, folder, monkeypatch
        self.script = types.ModuleType("__main__")
        monkeypatch.chdir(folder)
        monkeypatch.setitem(sys.modules, "__main__", self.script)
        monkeypatch.setattr(sys, "path", list(sys.path))
        # Progress depends on the machine; and nobody needs the latency of a page's models to three figures.
        monkeypatch.setattr(fxcompress.cli.progress, "PATIENCE_SECONDS", 1e6)
        monkeypatch.setattr(fxcompress.reporting, "LATENCY_SECONDS", 0.01)

    def outputs(self, blocks: list[Block]) -> Iterator[tuple[Block, str]]:
        """Run the blocks in order; yield every block that shows output, and what it should be."""
        printed = None
        for block in blocks:
            if block.file_name is not None:
                path = self.folder / block.file_name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            elif block.language == "python":
                printed = self._run(block)
                continue
            elif block.language == "text" and block.adjacent and printed is not None:
                yield block, printed
            elif block.language == "console":
                yield block, self._session(block)
            printed = None

    def _run(self, block: Block) -> str:
        code = compile("\n" * (block.line - 1) + block.text, str(self.page), "exec")
        sys.path.insert(0, str(self.folder))
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(code, vars(self.script))
        finally:
            sys.path.remove(str(self.folder))
        return out.getvalue()

    def _session(self, block: Block) -> str:
        """Return the block with what its commands really print, for those that show something."""
        lines = []
        for command, shown in commands(block.text):
            printed = self._command(command.replace("\\\n", " "), shown)
            lines += [f"$ {command}\n", printed.rstrip() + "\n" if shown else ""]
        return "".join(lines)

    def _command(self, command: str, shown: str) -> str:
        program, *arguments = shlex.split(command)
        if program == "pip":
            assert arguments[:2] == ["install", "-e"], command
            self._install(self.folder / arguments[2])
            return ""
        if program == "pytest":
            self._test(self.folder / arguments[0])
            return ""
        assert program == "fxcompress", f"{command}: only fxcompress, pip install -e and pytest are known"
        if arguments[0] in LONG:
            return shown
        printed, code = called(arguments)
        fails = any(line.startswith(("error:", "Usage:")) for line in shown.splitlines())
        assert (code != 0) == fails or "--help" in arguments, f"$ {command}\nexit code {code}\n{printed}"
        return printed

    def _install(self, project: Path) -> None:
        """Make a project known as an editable installation does: its folder on the path, its entry points listed."""
        table = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        place = project / "src" if (project / "src").is_dir() else project
        metadata = place / f"{table['name'].replace('-', '_')}-{table['version']}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {table['name']}\nVersion: {table['version']}\n"
        )
        lines = [f"{name} = {value}" for name, value in table["entry-points"]["fxcompress"].items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[fxcompress]", *lines, ""]))
        sys.path.insert(0, str(place))
        for package in (path.name.removesuffix(".py") for path in place.iterdir()):
            for name in [name for name in sys.modules if name.partition(".")[0] == package]:
                self.monkeypatch.delitem(sys.modules, name)
        self.monkeypatch.delenv(DISABLE_AUTOLOAD, raising=False)
        self.monkeypatch.setattr(fxcompress.installed, "entry_points", self._entry_points)

    def _test(self, project: Path) -> None:
        """Call the tests of a project, which take no fixtures."""
        names = {}
        for path in sorted(project.glob("tests/test_*.py")):
            names.update(runpy.run_path(str(path)))
        tests = [value for name, value in names.items() if name.startswith("test_")]
        assert tests, f"{project.name} has no tests"
        for test in tests:
            test()

    def _entry_points(self, group: str) -> list[importlib.metadata.EntryPoint]:
        """Return the entry points of what this page installed, not of what is installed here."""
        found = importlib.metadata.entry_points(group=group)
        return [one for one in found if self.folder in Path(one.dist.locate_file("")).resolve().parents]

    def close(self) -> None:
        """Forget the modules that came from the page's folder."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what is shown below it."""
    found: list[tuple[str, str]] = []
    going_on = False
    for line in text.splitlines():
        if going_on:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        elif line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            assert found, f"{line!r} stands above the first command"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
        going_on = line.endswith("\\") and not found[-1][1]
    return found


def called(arguments: list[str]) -> tuple[str, int]:
    """Run the command line in this process; return what it prints, stdout first, and its exit code."""
    out, error = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return out.getvalue() + error.getvalue(), code
