"""`fxcompress.write_back`: the user's own module becomes what the compressed graph is, or stays what it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from fxcompress.errors import UsageError, WriteBackError
from fxcompress.sparsity import without_masks
from fxcompress.writing_back.contents import Contents, contents_of, put, tensors_of, with_own_buffers
from fxcompress.writing_back.guesses import assign, guesses_of, holders_of
from fxcompress.writing_back.layers import calls_by_scope, known_attributes
from fxcompress.writing_back.norms import rescalings_of
from fxcompress.writing_back.saved import Saved
from fxcompress.writing_back.search import Choice, Search
from fxcompress.writing_back.witness import Outcome, Witness

if TYPE_CHECKING:
    from fxcompress.compiler import Result


@dataclass(frozen=True)
class WrittenBack:
    """What `write_back` did to a module.

    Attributes:
        tensors: the names of the parameters and buffers that got another size.
        attributes: {module: {attribute: (the old value, the new one)}}.
        rescaled: {norm: what its weight and eps were multiplied by}, where it divides by the number of its positions.
    """

    tensors: tuple[str, ...]
    attributes: dict[str, dict[str, tuple[Any, Any]]]
    rescaled: dict[str, str]


def write_back(model: nn.Module, result: Result) -> WrittenBack:
    """Make the module that was compressed what the compressed graph is: in place, so that all its methods serve.

    Its parameters and buffers get the contents of `result.module`, which may have been trained in the meantime, and its
    attributes (`in_features`, `num_heads`, ...) the sizes that belong to them. Then it is run beside the graph on the
    example inputs. Parameters stay the same objects; the gradients of those that change their size are dropped.

    Args:
        model: the module that was compressed, or one of the same architecture.
        result: what `fxcompress.compress` gave, by passes that keep the names of the tensors: prune, merge, reconstruct
            and mask do.

    Raises:
        WriteBackError: the module cannot be what the graph is; names the first place where they differ. The module is
            as it was, to the bit: tensors, gradients, attributes, mode and hooks.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"a {type(model).__name__} is no module", hint="give the nn.Module that was compressed")
    return _Writer(model, result).write()


class _Writer:
    """One model on its way to the sizes of a result."""

    def __init__(self, model: nn.Module, result: Result) -> None:
        self.model = model
        plan = result.plan
        result = replace(result, module=without_masks(result.module))
        self.contents = contents_of(model, result, plan)
        self.witness = Witness(result.module, result.captured.inputs, result.resources.seed)
        self.calls = calls_by_scope(result.module)
        self.saved = Saved(model)
        self.sizes = {id(tensor): tensor.shape for tensor in tensors_of(model).values()}
        kept = {id(tensor): plan[path] for path, tensor in tensors_of(model).items() if path in plan}
        known = {id(module) for path, module in model.named_modules() if self._known(path, module) is not None}
        self.holders = holders_of(model, kept, known)
        self.guesses = guesses_of(self.holders)
        rest = [module for module in model.modules() if id(module) not in known]
        self.rescalings = rescalings_of(rest, set(kept))

    def write(self) -> WrittenBack:
        done = False
        try:
            search = Search(self.model, self.guesses, self.rescalings, self._trial)
            choice, outcome = search.find()
            self.saved.restore()
            if outcome.why is not None:
                raise self._refusal(outcome, search.runs)
            # Without the traces that runs leave: buffers they write into, what modules remember of a call.
            written = self._apply(choice, self.contents)
            done = True
            return written
        finally:
            if not done:
                self.saved.restore()

    def _trial(self, choice: Choice) -> Outcome:
        self.saved.restore()
        self._apply(choice, with_own_buffers(self.contents, self.model))
        return self.witness.compare(self.model)

    def _apply(self, choice: Choice, contents: Contents) -> WrittenBack:
        """Give the model, as it was, its new tensors and attributes."""
        put(self.model, contents)
        held = tensors_of(self.model)
        resized = tuple(path for path, tensor in held.items() if tensor.shape != self.sizes[id(tensor)])
        return WrittenBack(resized, self._set_attributes(choice), self._rescale(choice))

    def _known(self, path: str, module: nn.Module) -> dict[str, Any] | None:
        return known_attributes(module, self.calls.get(path, []))

    def _set_attributes(self, choice: Choice) -> dict[str, dict[str, tuple[Any, Any]]]:
        made: dict[str, dict[str, tuple[Any, Any]]] = {}
        for path, module in self.model.named_modules():
            for name, value in (self._known(path, module) or {}).items():
                old = getattr(module, name, value)
                if old != value:
                    setattr(module, name, value)
                    made.setdefault(path, {})[name] = old, value
        for holder in self.holders:
            for place, guess in enumerate(self.guesses):
                if guess.owner is type(holder.module):
                    old = getattr(holder.module, guess.name, None)
                    if assign(holder, guess, choice.sources[place]) is not None:
                        made.setdefault(holder.path, {})[guess.name] = old, getattr(holder.module, guess.name)
        return made

    def _rescale(self, choice: Choice) -> dict[str, str]:
        made = {}
        for path, module in self.model.named_modules():
            rescaling = choice.rescaled.get(type(module))
            if rescaling is not None:
                done = rescaling.apply(module, self.sizes[id(getattr(module, rescaling.weight))][0])
                made.update({path: done} if done is not None else {})
        return made

    def _refusal(self, outcome: Outcome, runs: int) -> WriteBackError:
        tried = "" if runs == 1 else f" ({runs} ways to set its attributes were tried)"
        return WriteBackError(
            f"the module cannot be made what the graph is: {outcome.why}{tried}",
            hint="go on with result.module, or prune less: targets and ignore of prune name the layers whose sizes the "
            "module can follow; the module is as it was",
        )
