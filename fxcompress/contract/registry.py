"""What plugins registered, by kind and name, and by which plugin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fxcompress.analysis.axes.rules import Rule
from fxcompress.errors import PipelineError, PluginError
from fxcompress.text import suggestion


@dataclass(frozen=True)
class Registered:
    """One thing that a plugin registered: what, and which plugin."""

    value: Any
    plugin: str


@dataclass
class Registry:
    """The things of one kind, by name."""

    kind: str
    entries: dict[str, Registered] = field(default_factory=dict)

    def add(self, name: str, value: Any, plugin: str) -> None:
        """Raise PluginError, naming both, where the name is taken by another."""
        taken = self.entries.get(name)
        if taken is not None:
            raise PluginError(
                f"{self.kind} {name!r} is registered twice: {described(taken.value)} by plugin {taken.plugin!r}"
                f" and {described(value)} by plugin {plugin!r}",
                hint=f"block one of them with  -p no:{plugin}",
            )
        self.entries[name] = Registered(value, plugin)

    def get(self, name: str) -> Any:
        """Return the thing, or raise PipelineError with the nearest name."""
        if name not in self.entries:
            raise PipelineError(f"there is no {self.kind} {name!r}", hint=suggestion(name, self.entries))
        return self.entries[name].value


def described(value: Any) -> str:
    """Return how an error names something registered: classes and functions by module and name."""
    named = value.state if isinstance(value, Rule) else value
    return f"{named.__module__}.{named.__qualname__}" if hasattr(named, "__qualname__") else repr(value)
