"""A plugin-based compiler that makes trained PyTorch models smaller and faster, and shows what every pass did.

The public names are imported when they are first asked for, so that `import fxcompress` costs nothing.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxcompress import distributed as distributed
    from fxcompress import testing as testing
    from fxcompress.capturing import Captured as Captured
    from fxcompress.capturing import Inputs as Inputs
    from fxcompress.capturing import capture as capture
    from fxcompress.comparison import diff as diff
    from fxcompress.compiler import Result as Result
    from fxcompress.compiler import compress as compress
    from fxcompress.contract import Emitted as Emitted
    from fxcompress.contract import Kernel as Kernel
    from fxcompress.contract import Pass as Pass
    from fxcompress.contract import PassContext as PassContext
    from fxcompress.contract import Target as Target
    from fxcompress.contract import TrainingData as TrainingData
    from fxcompress.contract import above as above
    from fxcompress.contract import at_least as at_least
    from fxcompress.contract import between as between
    from fxcompress.contract import option as option
    from fxcompress.contract import statistic as statistic
    from fxcompress.distilling import Distillation as Distillation
    from fxcompress.distilling import distillation as distillation
    from fxcompress.errors import ArtifactError as ArtifactError
    from fxcompress.errors import ExportError as ExportError
    from fxcompress.errors import FxcompressError as FxcompressError
    from fxcompress.errors import PassFailed as PassFailed
    from fxcompress.hookspecs import hookimpl as hookimpl
    from fxcompress.pipeline import Pipeline as Pipeline
    from fxcompress.plugins import Plugins as Plugins
    from fxcompress.pruning.removing.apply import apply_plan as apply_plan
    from fxcompress.targets import load_artifact
    from fxcompress.teaching import CachedTeacher as CachedTeacher
    from fxcompress.teaching import LiveTeacher as LiveTeacher
    from fxcompress.writing_back import write_back as write_back

    load = load_artifact

__version__ = version("fxcompress")

# Where a public name lives: its module, and its name there where that is another.
_HOMES = {
    "distributed": "distributed",
    "testing": "testing",
    "Captured": "capturing",
    "Inputs": "capturing",
    "capture": "capturing",
    "Result": "compiler",
    "compress": "compiler",
    "diff": "comparison",
    "Kernel": "contract",
    "Pass": "contract",
    "PassContext": "contract",
    "Emitted": "contract",
    "Target": "contract",
    "TrainingData": "contract",
    "Distillation": "distilling",
    "distillation": "distilling",
    "CachedTeacher": "teaching",
    "LiveTeacher": "teaching",
    "above": "contract",
    "at_least": "contract",
    "between": "contract",
    "option": "contract",
    "statistic": "contract",
    "ArtifactError": "errors",
    "ExportError": "errors",
    "FxcompressError": "errors",
    "PassFailed": "errors",
    "hookimpl": "hookspecs",
    "Pipeline": "pipeline",
    "Plugins": "plugins",
    "apply_plan": "pruning.removing.apply",
    "load": "targets:load_artifact",
    "write_back": "writing_back",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fxcompress' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    home = importlib.import_module(f"fxcompress.{module}")
    found = home if name == module else getattr(home, attribute or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
