"""Recipes: a pipeline in a TOML file, with what belongs to it.

pipeline = '''
  fold-bn,
  mask{sparsity=0.5}
'''
seed = 0            # optional
dynamic = "batch"   # optional
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from fxcompress.errors import UsageError
from fxcompress.text import suggestion


@dataclass(frozen=True)
class Recipe:
    """A pipeline's text and the settings of a run."""

    pipeline: str
    seed: int = 0
    dynamic: str = "batch"

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read a recipe.

        Raises:
            UsageError: the file is not there, is no TOML, has an unknown key or a value of a wrong type, or lacks
                the pipeline.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"recipe {str(path)!r} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"recipe {str(path)!r} is no TOML: {error}") from error
        known = {field.name: field.type for field in fields(cls)}
        for key, value in values.items():
            if key not in known:
                raise UsageError(f"recipe {str(path)!r} has an unknown key {key!r}", hint=suggestion(key, known))
            if type(value).__name__ != known[key]:
                raise UsageError(f"recipe {str(path)!r}: {key} takes {known[key]}, not {value!r}")
        if "pipeline" not in values:
            raise UsageError(f"recipe {str(path)!r} has no pipeline", hint='pipeline = "fold-bn,mask{sparsity=0.5}"')
        return cls(**values)

    @classmethod
    def choose(cls, text: str | None, path: Path | None) -> Recipe:
        """Return the recipe of a file, or of a bare pipeline text; exactly one of both must be given."""
        if (text is None) == (path is None):
            raise UsageError("give either --pipeline TEXT or --recipe FILE")
        return cls.read(path) if path is not None else cls(text or "")
