"""The report of a compression: plain values that the compiler fills in, rendered as table, page or JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fxcompress.inspect import report_html, report_json, report_text
from fxcompress.inspect.figures import Figures, Measurement

# The plan and the example inputs, which are saved too, make a file a little larger.
FAR = 0.25


@dataclass(frozen=True)
class Report(Figures):
    """What a compression did. `str()` of it is a table."""

    def named(self, model: str) -> Report:
        """Return the same report with another name for the model."""
        return replace(self, model=model)

    def written(self, name: str, size: int) -> Report:
        """Return the same report with a row for the file that was written, where its size is far from the one foretold.

        Args:
            name: of the file.
            size: its bytes.
        """
        place = next((i for i, row in enumerate(self.measurements) if row.name == "file"), None)
        foretold = self.measurements[place] if place is not None else None
        if place is None or foretold is None or abs(size - (foretold.after or 0)) < FAR * size:
            return self
        row = Measurement("written", "bytes", foretold.before, size, note=name)
        return replace(self, measurements=(*self.measurements[: place + 1], row, *self.measurements[place + 1 :]))

    def __str__(self) -> str:
        return report_text.report_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values; numbers that JSON does not know are None."""
        return report_json.report_dict(self)

    def to_html(self) -> str:
        """Return the report as one page that needs no other file and no network."""
        return report_html.report_page(self)
