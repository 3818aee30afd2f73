"""A plugin-based compiler that makes trained PyTorch models smaller and faster, and shows what every pass did.

The public names are imported when they are first asked for, so that `import fxcompress` costs nothing.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxcompress import testing as testing
    from fxcompress.capturing import Captured as Captured
    from fxcompress.capturing import Inputs as Inputs
    from fxcompress.capturing import capture as capture
    from fxcompress.compiler import Result as Result
    from fxcompress.compiler import compress as compress
    from fxcompress.comparison import diff as diff
    from fxcompress.contract import Pass as Pass
    from fxcompress.contract import PassContext as PassContext
    from fxcompress.contract import TrainingData as TrainingData
    from fxcompress.contract import above as above
    from fxcompress.contract import at_least as at_least
    from fxcompress.contract import between as between
    from fxcompress.contract import option as option
    from fxcompress.contract import statistic as statistic
    from fxcompress.errors import ArtifactError as ArtifactError
    from fxcompress.errors import FxcompressError as FxcompressError
    from fxcompress.errors import PassFailed as PassFailed
    from fxcompress.hookspecs import hookimpl as hookimpl
    from fxcompress.pipeline import Pipeline as Pipeline
    from fxcompress.plugins import Plugins as Plugins
    from fxcompress.targets import load_artifact as load

__version__ = version("fxcompress")

_HOMES = {
    "testing": "fxcompress.testing",
    "Captured": "fxcompress.capturing",
    "Inputs": "fxcompress.capturing",
    "capture": "fxcompress.capturing",
    "Result": "fxcompress.compiler",
    "compress": "fxcompress.compiler",
    "diff": "fxcompress.comparison",
    "Pass": "fxcompress.contract",
    "PassContext": "fxcompress.contract",
    "TrainingData": "fxcompress.contract",
    "above": "fxcompress.contract",
    "at_least": "fxcompress.contract",
    "between": "fxcompress.contract",
    "option": "fxcompress.contract",
    "statistic": "fxcompress.contract",
    "ArtifactError": "fxcompress.errors",
    "FxcompressError": "fxcompress.errors",
    "PassFailed": "fxcompress.errors",
    "hookimpl": "fxcompress.hookspecs",
    "Pipeline": "fxcompress.pipeline",
    "Plugins": "fxcompress.plugins",
    "load": "fxcompress.targets",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fxcompress' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    found = home if name == "testing" else getattr(home, "load_artifact" if name == "load" else name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
