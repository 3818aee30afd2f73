"""The folders stand in the order of the data, and a file imports only from what stands above or beside it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fxcompress

ROOT = Path(fxcompress.__file__).parent
ORDER = (
    "errors",
    "text",
    "files",
    "coding",
    "graph",
    "kernels",
    "capturing",
    "analysis",
    "inspect",
    "contract",
    "distributed",
    "weights",
    "schemes",
    "calibration",
    "training",
    "quantizing",
    "sparsity",
    "clustering",
    "pruning",
    "teaching",
    "distilling",
    "lowering",
    "hookspecs",
    "installed",
    "plugins",
    "manual",
    "pipeline",
    "passes",
    "targets",
    "reporting",
    "compiler",
    "writing_back",
    "comparison",
    "recipe",
    "models",
    "benchmark",
    "tuning",
    "skeleton",
    "testing",
    "demo",
    "cli",
)
FILES = sorted(ROOT.rglob("*.py"))


def place(module: str) -> int | None:
    """The position in the order of what `fxcompress.X...` belongs to; None for the package itself."""
    words = module.split(".")
    return ORDER.index(words[1]) if len(words) > 1 and words[1] in ORDER else None


def imports_at_run_time(tree: ast.Module) -> list[tuple[int, str]]:
    """Line and module of every import of fxcompress, inside functions too, but not those for type checkers only."""
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fxcompress"):
            if node.module == "fxcompress":
                found += [(node.lineno, f"fxcompress.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, node.module))
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names if alias.name.startswith("fxcompress")]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_from_above_or_beside(path):
    if path.parent == ROOT and path.stem in ("__init__", "__main__"):
        return
    own = place("fxcompress." + path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."))
    assert own is not None, f"{path.name} has no place in the order"
    for line, module in imports_at_run_time(ast.parse(path.read_text())):
        other = place(module)
        assert other is None or other <= own, f"{path.relative_to(ROOT)}:{line} imports {module}, which stands below it"


def test_every_name_in_the_order_is_there():
    there = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert set(ORDER) <= there | {"__init__"}
    assert there - {"__init__", "__main__", "__pycache__"} <= set(ORDER)


def test_public_names_are_there_and_documented():
    for name in fxcompress.__all__:
        found = getattr(fxcompress, name)
        assert found.__doc__, name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fxcompress.nonsense
