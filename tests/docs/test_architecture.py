"""docs/architecture.md lists the folders of the package in the order of their imports."""

from __future__ import annotations

import ast
import re

from docs.pages import ROOT
from fxcompress.pipeline.results import CLOSE_TOLERANCE, EXACT_TOLERANCE


def import_order() -> list[str]:
    """The order that tests/test_layout.py holds."""
    tree = ast.parse((ROOT / "tests" / "test_layout.py").read_text())
    return next(
        list(ast.literal_eval(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORDER"
    )


def test_the_folders_stand_in_the_order_of_their_imports():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("## The folders")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, flags=re.M) == import_order()


def test_the_tolerances_are_those_of_the_verifier():
    page = " ".join((ROOT / "docs" / "architecture.md").read_text().split())
    figures = [f"{tolerance:.0e}".replace("e-0", "e-") for tolerance in EXACT_TOLERANCE.values()]
    double, single, half, brain = figures
    assert f"{single} of the largest magnitude in float32" in page
    assert f"({double} in float64, {half} in float16, {brain} in bfloat16)" in page
    assert f"`close` allows {CLOSE_TOLERANCE:.0e}".replace("e-0", "e-") in page
