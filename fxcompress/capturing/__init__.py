"""From a model to a graph in the one dialect that every pass meets."""

from fxcompress.capturing.capture import Captured as Captured
from fxcompress.capturing.capture import CaptureWarning as CaptureWarning
from fxcompress.capturing.capture import capture as capture
from fxcompress.capturing.inputs import Inputs as Inputs
from fxcompress.capturing.inputs import as_inputs as as_inputs
