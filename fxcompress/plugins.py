"""Loading plugins, one by one, and the registries of what they brought."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import pluggy

from fxcompress import hookspecs
from fxcompress.analysis.axes import LOSE, Rule, Statement
from fxcompress.contract import Kernel, Pass, Registry, Target, axis_rule, check_class, check_kernel, check_target
from fxcompress.errors import FxcompressError, PluginError, UsageError
from fxcompress.installed import Installed, distribution, installed, load_entry_point, why
from fxcompress.pruning.choosing.importance import Importance, Score, checked_importance
from fxcompress.text import suggestion

DISABLE_AUTOLOAD = "FXCOMPRESS_DISABLE_AUTOLOAD"

# Named by their modules, since they stand below this file and import it not at all.
BUILTINS: Mapping[str, str] = {"passes": "fxcompress.passes", "targets": "fxcompress.targets"}


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
        self.targets = Registry("target")
        self.suffixes = Registry("target for the suffix")
        self._importances = Registry("importance")
        self._kernels = Registry("kernel")
        self._axis_rules = Registry("axis rule")
        self._targets: dict[str, Any] = {}
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

    @property
    def axis_rules(self) -> dict[Any, Rule]:
        """The axis rules by the operators that they describe, as `analyse` takes them."""
        return {self._targets[name]: entry.value for name, entry in self._axis_rules.entries.items()}

    @property
    def importances(self) -> dict[str, Importance]:
        """The criteria of `prune` by their names."""
        return {name: entry.value for name, entry in self._importances.entries.items()}

    @property
    def kernels(self) -> dict[str, Kernel]:
        """The kernels of `lower{device=cuda}` by their names."""
        return {name: entry.value for name, entry in self._kernels.entries.items()}

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
            "register_importances": lambda name, score, needs=None: self._add_importance(
                name, score, needs, loaded.name
            ),
            "register_targets": lambda cls: self._add_target(cls, loaded.name),
            "register_kernels": lambda kernel: self._add_kernel(kernel, loaded.name),
            "register_axis_rules": lambda target, rule, zeros=LOSE: self._add_rule(target, rule, zeros, loaded.name),
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
        with blaming(plugin):
            check_class(cls)
        self.passes.add(cls.name, cls, plugin)

    def _add_target(self, cls: type[Target], plugin: str) -> None:
        with blaming(plugin):
            check_target(cls)
        self.targets.add(cls.name, cls, plugin)
        for suffix in cls.suffixes:
            self.suffixes.add(suffix, cls, plugin)

    def _add_importance(self, name: str, score: Score, needs: str | None, plugin: str) -> None:
        with blaming(plugin):
            self._importances.add(name, checked_importance(name, score, needs), plugin)

    def _add_kernel(self, kernel: Kernel, plugin: str) -> None:
        with blaming(plugin):
            check_kernel(kernel)
        self._kernels.add(kernel.name, kernel, plugin)

    def _add_rule(self, target: Any, state: Statement, zeros: str, plugin: str) -> None:
        with blaming(plugin):
            rule = axis_rule(target, state, zeros, plugin)
        name = str(target).replace("::", ".")
        self._axis_rules.add(name, rule, plugin)
        self._targets[name] = target


@contextmanager
def blaming(plugin: str) -> Iterator[None]:
    """Raise as a PluginError that names `plugin` what is wrong with something that it registers."""
    try:
        yield
    except PluginError:
        raise
    except UsageError as error:
        raise PluginError(f"plugin {plugin!r}: {error.message}", hint=error.hint) from error
