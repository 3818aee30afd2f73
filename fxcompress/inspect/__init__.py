"""What a graph looks like, what changed between two, and the report of a compression. Needs no pipeline."""

from fxcompress.inspect.diff import GraphDiff, diff_snapshots
from fxcompress.inspect.entries import Entry
from fxcompress.inspect.figures import LayerRow, Measurement, StepRow
from fxcompress.inspect.ranking import Ranked, Ranking
from fxcompress.inspect.report import Report
from fxcompress.inspect.rows import Parameter, Row
from fxcompress.inspect.snapshot import Snapshot, snapshot
from fxcompress.inspect.trajectory import Point, Standing

__all__ = [
    "Entry",
    "GraphDiff",
    "LayerRow",
    "Measurement",
    "Parameter",
    "Point",
    "Ranked",
    "Ranking",
    "Report",
    "Row",
    "Snapshot",
    "Standing",
    "StepRow",
    "diff_snapshots",
    "snapshot",
]
