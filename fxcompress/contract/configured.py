"""What passes and targets have in common: frozen dataclasses whose fields are their options."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar

from fxcompress.contract.options import options_of, spell
from fxcompress.errors import PipelineError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclasses.dataclass(frozen=True)
class Configured:
    """Something that a text names with its options: `name{option=value}`. The options are checked when it is made.

    Attributes:
        kind: what it is, as errors say it.
        name: in kebab case.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for option in options_of(type(self)):
            value = getattr(self, option.name)
            try:
                option.validate(value)
            except PipelineError as error:
                raise PipelineError(f"{self.kind} {self.name!r}: {error.message}", hint=error.hint) from None
            object.__setattr__(self, option.name, option.canonical(value))

    def __str__(self) -> str:
        """Return the text that makes this: its name and the options that differ from their defaults."""
        given = {o.name: getattr(self, o.name) for o in options_of(type(self))}
        spelled = [f"{o.name}={spell(given[o.name])}" for o in options_of(type(self)) if given[o.name] != o.default]
        return f"{self.name}{{{' '.join(spelled)}}}" if spelled else self.name


def check_configured(cls: Any, base: type[Configured]) -> None:
    """Raise PipelineError where `cls` is no class of the kind `base` with a name, a docstring and options."""
    kind = base.kind
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise PipelineError(f"{cls!r} is no {kind} class", hint=f"derive it from fxc.{base.__name__}")
    where = f"{cls.__module__}.{cls.__qualname__}"
    if not _NAME.fullmatch(cls.name):
        raise PipelineError(f"{kind} class {where} has no name in kebab case", hint=f'set  name = "my-{kind}"')
    if "__dataclass_params__" not in vars(cls) or not vars(cls)["__dataclass_params__"].frozen:
        raise PipelineError(f"{kind} class {where} is no frozen dataclass", hint="decorate it: @dataclass(frozen=True)")
    if not (vars(cls).get("__doc__") or "").strip() or (cls.__doc__ or "").startswith(f"{cls.__name__}("):
        raise PipelineError(f"{kind} class {where} has no docstring", hint="its docstring is its manual page")
    options_of(cls)
