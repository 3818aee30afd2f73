"""Finding the model that a command names: a factory in a file or a module, or an artifact."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fxcompress.errors import FxcompressError, ModelError
from fxcompress.text import suggestion

if TYPE_CHECKING:
    from fxcompress.capturing import Captured
    from fxcompress.compiler import Model
    from fxcompress.targets import Artifact

KEYS = ("model", "inputs", "calibration", "evaluate", "train", "teacher")
FORMS = "path/to/file.py:factory, package.module:factory, or an artifact.fxc"


@dataclass(frozen=True)
class NamedModel:
    """What a factory gives: a model, its inputs, and data where there are any."""

    name: str
    model: Model
    inputs: Any
    calibration: Any = None
    evaluate: Callable[[Any], float] | None = None
    train: Any = None
    teacher: Any = None


def find_model(name: str) -> NamedModel:
    """Return the model that `name` names.

    Raises:
        ModelError: there is no such file, module or factory, or the factory fails.
        ArtifactError: the artifact does not load.
    """
    if name.endswith(".fxc"):
        return NamedModel(name, load(name), None)
    place, separator, factory = name.rpartition(":")
    if not separator or not place or not factory:
        raise ModelError(f"{name!r} names no model", hint=f"give {FORMS}")
    module = module_from_file(Path(place)) if place.endswith(".py") else module_by_name(place)
    return called(name, factory_in(module, place, factory))


def captured_model(named: NamedModel) -> Captured:
    """Return a named model as it is where it is captured already, else capture it."""
    from fxcompress.capturing import Captured, capture
    from fxcompress.targets import Artifact

    if isinstance(named.model, Artifact):
        return named.model.captured
    return named.model if isinstance(named.model, Captured) else capture(named.model, named.inputs)


def load(path: str) -> Artifact:
    """Return the artifact at `path`."""
    from fxcompress.targets import load_artifact

    return load_artifact(path)


def module_from_file(path: Path) -> ModuleType:
    """Import a file as a module, with its folder on the path as `python file.py` has it."""
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ModelError(f"there is no file {str(path)!r}", hint=suggestion(path.name, beside) if beside else None)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    # Dataclasses and pickling look a class's module up by name.
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except FxcompressError:
        raise
    except Exception as error:
        raise ModelError(f"{path} does not import: {last_line(error)}") from error
    return module


def module_by_name(name: str) -> ModuleType:
    """Import a module by its dotted name; the working folder counts, as for `python -m`."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(f"module {name!r} does not import: {error}", hint=f"give {FORMS}") from error


def factory_in(module: ModuleType, place: str, name: str) -> Callable[[], Any]:
    """Return the function `name` of a module."""
    found = getattr(module, name, None)
    if not callable(found):
        functions = [n for n, value in vars(module).items() if inspect.isfunction(value) and not n.startswith("_")]
        raise ModelError(f"{place} has no factory {name!r}", hint=suggestion(name, functions))
    return found  # type: ignore[no-any-return]


def called(name: str, factory: Callable[[], Any]) -> NamedModel:
    """Return what a factory gives, as a NamedModel."""
    try:
        made = factory()
    except FxcompressError:
        raise
    except Exception as error:
        raise ModelError(f"the factory {name} failed: {last_line(error)}") from error
    if isinstance(made, tuple) and len(made) == 2:
        return NamedModel(name, *made)
    if not isinstance(made, Mapping) or not {"model", "inputs"} <= set(made):
        kind = f"a dict with keys {list(made)}" if isinstance(made, Mapping) else type(made).__name__
        raise ModelError(
            f"the factory {name} returned {kind}",
            hint=f"return (model, example_inputs), or a dict with the keys {', '.join(KEYS)}",
        )
    for key in made:
        if key not in KEYS:
            raise ModelError(f"the factory {name} returned an unknown key {key!r}", hint=suggestion(str(key), KEYS))
    return NamedModel(name, **made)


def last_line(error: Exception) -> str:
    """Return what went wrong and the file and line where."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
