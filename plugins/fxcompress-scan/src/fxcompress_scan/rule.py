"""What the scan does to axes."""

from __future__ import annotations

from fxcompress.analysis.axes import Op


def scan(op: Op) -> None:
    """Channels stay apart from each other; the state is written and read; time goes step by step."""
    x, rate, decay, write, read = (op.given(name) for name in ("x", "rate", "decay", "write", "read"))
    batches, times, channels = zip(x.axes, rate.axes, op.output.axes, strict=True)
    op.equal(*batches, write.axes[0], read.axes[0])
    op.equal(*times, write.axes[1], read.axes[1])
    op.pin(x.axes[1], "scans over time")
    # One slot less of the channels, wherever they stand, is one channel less that is scanned.
    op.equal(*channels, decay.axes[0])
    # What is written to a place of the state and what is read from it are multiplied, and added up over the state.
    op.equal(decay.axes[1], write.axes[2])
    op.contract(write.axes[2], read.axes[2])
