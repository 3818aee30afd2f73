"""Pipelines: their text, the one loop that runs them, and the instruments that stand around every step."""

from fxcompress.pipeline.run import run as run
from fxcompress.pipeline.spec import Pipeline as Pipeline
from fxcompress.pipeline.step import Instrument as Instrument
from fxcompress.pipeline.step import Stage as Stage
from fxcompress.pipeline.step import Step as Step
from fxcompress.pipeline.verify import Verify as Verify
