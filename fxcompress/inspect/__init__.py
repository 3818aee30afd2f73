"""What a graph looks like, what changed between two, and the report of a compression. Needs no pipeline."""

from fxcompress.inspect.diff import Entry, GraphDiff, diff_snapshots
from fxcompress.inspect.report import LayerRow, Measurement, Report, StepRow
from fxcompress.inspect.rows import Parameter, Row
from fxcompress.inspect.snapshot import Snapshot, snapshot

__all__ = [
    "Entry",
    "GraphDiff",
    "LayerRow",
    "Measurement",
    "Parameter",
    "Report",
    "Row",
    "Snapshot",
    "StepRow",
    "diff_snapshots",
    "snapshot",
]
