"""The plugins that are installed: entry points of distributions, loaded one by one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from fxcompress.errors import PluginError

GROUP = "fxcompress"

Installed = Mapping[str, list[EntryPoint]]


def installed() -> Installed:
    """Return the installed entry points by name, in the order of their names."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, distribution(entry))):
        found.setdefault(entry.name, []).append(entry)
    return found


def load_entry_point(entry: EntryPoint) -> ModuleType | Any:
    """Return the plugin of an entry point, or raise PluginError with its distribution."""
    try:
        return entry.load()
    except Exception as error:
        raise PluginError(
            f"plugin {entry.name!r} ({distribution(entry)}, module {entry.module}) does not import: {why(error)}",
            hint=f"go on without it with  -p no:{entry.name}",
        ) from error


def why(error: Exception) -> str:
    """Return what an error says; what says little by its text alone is named."""
    return str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"


def distribution(entry: EntryPoint) -> str:
    """Return name and version of the distribution that brings an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "no distribution"
