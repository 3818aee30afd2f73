"""Loading plugins, one by one, and the registries of what they brought."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import pluggy

from fxcompress import hookspecs
from fxcompress.contract import Pass, check_class
from fxcompress.errors import FxcompressError, PipelineError, PluginError
from fxcompress.text import suggestion

GROUP = "fxcompress"
DISABLE_AUTOLOAD = "FXCOMPRESS_DISABLE_AUTOLOAD"

# Named by their modules, since they stand below this file and import it not at all.
BUILTINS: Mapping[str, str] = {"passes": "fxcompress.passes"}


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


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that was loaded: its name, where it came from, and the hooks it implements."""

    name: str
    origin: str
    hooks: tuple[str, ...]


class Plugins:
    """The plugins of one run and what they registered; there is no global one.

    Args:
        names: as `-p` takes them: `no:NAME` blocks a plugin, `NAME` loads an entry point or a module.
        autoload: load every installed entry point; by default unless the environment sets FXCOMPRESS_DISABLE_AUTOLOAD.

    Raises:
        PluginError: a plugin does not import, has no hook, or registers a name that is taken.
    """

    def __init__(self, names: Iterable[str] = (), *, autoload: bool | None = None) -> None:
        self.passes = Registry("pass")
        self.pipelines = Registry("pipeline")
        self.instruments = Registry("instrument")
        self.loaded: list[LoadedPlugin] = []
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._load(tuple(names), not os.environ.get(DISABLE_AUTOLOAD) if autoload is None else autoload)
        self._collect()

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin that is at hand as an object: a module, or anything with hook methods."""
        self._add(plugin, name, "object")
        self._check_hooks()
        self._collect_from(self.loaded[-1])

    def plugin_of(self, cls: type[Pass]) -> str | None:
        """Return the name of the plugin that registered a pass class, None where none did."""
        entry = self.passes.entries.get(cls.name)
        return entry.plugin if entry is not None and entry.value is cls else None

    def _load(self, names: tuple[str, ...], autoload: bool) -> None:
        found = installed()
        for name in names:
            if name.startswith("no:"):
                self._block(name.removeprefix("no:"), found)
        for name, module in BUILTINS.items():
            if not self._manager.is_blocked(name):
                self._add(importlib.import_module(module), name, "built in")
        for name, entries in found.items() if autoload else ():
            if not self._manager.is_blocked(name):
                self._add_installed(name, entries)
        for name in names:
            if not name.startswith("no:"):
                self._add_named(name, found)
        self._check_hooks()

    def _check_hooks(self) -> None:
        """Raise PluginError where a plugin implements a hook that there is not."""
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            loaded = next(one for one in self.loaded if self._manager.get_plugin(one.name) is error.plugin)
            hooks = [name for name in vars(hookspecs) if name.startswith("register_")]
            unknown = next(hook for hook in loaded.hooks if hook not in hooks)
            raise PluginError(
                f"plugin {loaded.name!r} ({loaded.origin}) has an unknown hook {unknown!r}",
                hint=suggestion(unknown, hooks),
            ) from error

    def _block(self, name: str, found: Installed) -> None:
        known = {*BUILTINS, *found}
        if name not in known:
            raise PluginError(f"there is no plugin {name!r} to block", hint=suggestion(name, known))
        self._manager.set_blocked(name)

    def _add_installed(self, name: str, entries: list[EntryPoint]) -> None:
        if len(entries) > 1:
            brought = " and ".join(distribution(entry) for entry in entries)
            raise PluginError(
                f"two distributions bring a plugin {name!r}: {brought}",
                hint=f"uninstall one of them, or go on without both with  -p no:{name}",
            )
        self._add(load_entry_point(entries[0]), name, distribution(entries[0]))

    def _add_named(self, name: str, found: Installed) -> None:
        """Load what `-p NAME` names, unless it is loaded already."""
        if self._manager.is_blocked(name):
            raise PluginError(
                f"plugin {name!r} is both loaded and blocked", hint=f"leave out  -p {name}  or  -p no:{name}"
            )
        if self._manager.has_plugin(name):
            return
        if name in found:
            self._add_installed(name, found[name])
            return
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise PluginError(
                f"plugin {name!r} is no installed plugin, and as a module it does not import: {why(error)}",
                hint=suggestion(name, found),
            ) from error
        if not self._manager.is_registered(module):
            self._add(module, name, f"module {name}")

    def _add(self, plugin: object, name: str, origin: str) -> None:
        try:
            self._manager.register(plugin, name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"plugin {name!r} ({origin}) does not register: {error}") from error
        hooks = tuple(sorted(caller.name for caller in self._manager.get_hookcallers(plugin) or ()))
        if not hooks:
            raise PluginError(
                f"plugin {name!r} ({origin}) has no hook of fxcompress",
                hint=f"mark one with @fxcompress.hookimpl, or go on without it with  -p no:{name}",
            )
        self.loaded.append(LoadedPlugin(name, origin, hooks))

    def _collect(self) -> None:
        for plugin in self.loaded:
            self._collect_from(plugin)

    def _collect_from(self, loaded: LoadedPlugin) -> None:
        """Call the hooks of one plugin alone, so that what it registers is known to be its own."""
        plugin = self._manager.get_plugin(loaded.name)
        registers: dict[str, Callable[..., None]] = {
            "register_passes": lambda cls: self._add_pass(cls, loaded.name),
            "register_pipelines": lambda name, text: self.pipelines.add(name, text, loaded.name),
            "register_instruments": lambda name, factory: self.instruments.add(name, factory, loaded.name),
        }
        for hook, register in registers.items():
            if hook in loaded.hooks:
                others = [other for other in self._manager.get_plugins() if other is not plugin]
                self._call(loaded, self._manager.subset_hook_caller(hook, others), register)

    @staticmethod
    def _call(loaded: LoadedPlugin, hook: pluggy.HookCaller, register: Callable[..., None]) -> None:
        try:
            hook(register=register)
        except FxcompressError:
            raise
        except Exception as error:
            raise PluginError(
                f"plugin {loaded.name!r} ({loaded.origin}) fails in {hook.name}: {why(error)}",
                hint=f"go on without it with  -p no:{loaded.name}",
            ) from error

    def _add_pass(self, cls: type[Pass], plugin: str) -> None:
        try:
            check_class(cls)
        except PipelineError as error:
            raise PluginError(f"plugin {plugin!r}: {error.message}", hint=error.hint) from error
        self.passes.add(cls.name, cls, plugin)


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


def described(value: Any) -> str:
    """Return how an error names something registered: a class by its module and name."""
    return f"{value.__module__}.{value.__qualname__}" if isinstance(value, type) else repr(value)
