"""Saving a compressed module as one file, and loading it again without executing anything of the file's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch.fx import GraphModule

from fxcompress.capturing import Captured, Inputs
from fxcompress.coding import NONE, check_coding
from fxcompress.errors import ArtifactError
from fxcompress.files import write_whole
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.types import symbol_names
from fxcompress.targets import coded_file, container
from fxcompress.targets.codec import decode_graph, encode_graph
from fxcompress.targets.example_inputs import decode_inputs, encode_inputs
from fxcompress.targets.form import decode_form, encode_form
from fxcompress.targets.input_types import encode_input_types
from fxcompress.targets.json_text import dump, record, strings
from fxcompress.targets.node_types import restore_types
from fxcompress.targets.payloads import Payload, describe, payload_of, plain_tensor
from fxcompress.targets.plans import decode_plan, encode_plan
from fxcompress.targets.tensors import decode_tensors, encode_tensors
from fxcompress.targets.tree import decode_signature, encode_signature

if TYPE_CHECKING:
    from fxcompress.pruning.removing.places import Plan


@dataclass(frozen=True)
class Artifact:
    """A loaded file.

    Attributes:
        module: runs as the saved one did; in evaluation mode, on the CPU.
        pipeline: the text of the pipeline that made it, `""` where none was given.
        inputs: the example inputs, None where none were saved.
        notes: what was to be said at saving, and what loading could not restore.
        versions: of `fxcompress`, `torch` and `format`, with which it was written.
        path: of the file.
        plan: what pruning left of the captured model, for `fxcompress.apply_plan`; `{}` where none was saved.
    """

    module: CapturedModule
    pipeline: str
    inputs: Inputs | None
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    path: Path
    plan: Plan = field(default_factory=dict)

    @property
    def captured(self) -> Captured:
        """The module as `fxcompress.capture` gives it, to compress further; `inputs` are None where none were saved."""
        dynamic = bool(symbol_names(self.module.graph))
        return Captured(self.module, self.inputs, self.notes, dynamic)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Loaded:
    module: CapturedModule
    inputs: Inputs | None
    notes: tuple[str, ...]


def save_artifact(
    path: str | os.PathLike[str],
    module: GraphModule,
    *,
    pipeline: str = "",
    inputs: Inputs | None = None,
    notes: Iterable[str] = (),
    plan: Plan | None = None,
    allow: Iterable[str] = (),
    coding: str = NONE,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Save `module` to the file `path`, which is there whole afterwards or as it was before.

    The same arguments give the same bytes, under the same versions of fxcompress and PyTorch.

    Args:
        path: by custom with the suffix `.fxc`.
        module: a graph of ATen calls, as captured or compressed; it is not changed.
        pipeline: the text of the pipeline that made it.
        inputs: example inputs to store beside it, so that it can be verified and compressed further later.
        notes: lines to store.
        plan: which positions of the captured model's tensors stay: {name: {dim: positions}}.
        allow: ops of other libraries that the graph calls, `torchvision.nms` or `torchvision`; loading needs them too.
        coding: `none` leaves tensors as any reader of safetensors reads them; `auto` codes each by what makes it
            smallest, and the graph too; the name of a coder, see `fxcompress.coding.CODERS`, codes all by that one.
        progress: is given a line for every tensor that is coded.

    Raises:
        UsageError: there is no such coding.
        ArtifactError: something that an artifact does not hold, named with its node; or a place that cannot be written.
    """
    extra, coding = frozenset(allow), check_coding(coding)
    if not isinstance(module, GraphModule):
        raise ArtifactError(f"a {type(module).__name__} holds no graph", hint="capture it: fxc.capture(model, inputs)")
    notes = dict.fromkeys([*module.meta.get("notes", ()), *notes])
    prepared = _prepare(module, pipeline, inputs, tuple(notes), extra)
    if plan:
        prepared.document["plan"] = encode_plan(plan)
    # A file that could not be loaded is not written at all.
    _assemble(prepared.document, prepared.stored, extra)
    write_whole(_path(path), prepared.writer(coding, progress), ArtifactError)


def artifact_bytes(module: GraphModule) -> int:
    """Return the size in bytes of the file that `save_artifact` would write of `module` alone, without writing it."""
    prepared = _prepare(module, "", None, tuple(module.meta.get("notes", ())), frozenset())
    payloads = [describe(name, tensor) for name, tensor in prepared.stored.items()]
    return len(prepared.header(payloads)) + sum(payload.nbytes for payload in payloads)


@dataclass(frozen=True)
class _Prepared:
    """What is to be written: the document, but for its payloads, and the tensors by their names."""

    document: dict[str, Any]
    stored: dict[str, torch.Tensor]

    def header(self, payloads: list[Payload]) -> bytes:
        self.document["payloads"] = [payload.to_json() for payload in payloads]
        return container.header_bytes(dump(self.document), payloads, _own_version())

    def writer(self, coding: str, progress: Callable[[str], None] | None) -> Callable[[BinaryIO], None]:
        """Return what fills a file."""
        if coding != NONE:
            return lambda file: coded_file.write(file, self.document, self.stored, coding, progress)
        header = self.header([payload_of(name, tensor) for name, tensor in self.stored.items()])
        return lambda file: container.write(file, header, self.stored.values())


def _prepare(
    module: GraphModule, pipeline: str, inputs: Inputs | None, notes: tuple[str, ...], extra: frozenset[str]
) -> _Prepared:
    rows, stored = encode_tensors(module)
    stored, given = encode_inputs(stored, inputs)
    types, symbols = encode_input_types(module.graph)
    document = {
        "fxcompress": _own_version(),
        "torch": torch.__version__,
        "pipeline": pipeline,
        "notes": list(notes),
        "tensors": rows,
        "graph": encode_graph(module.graph, extra),
        "signature": encode_signature(module.graph),
        "form": encode_form(module),
        "types": types,
        "symbols": symbols,
        "inputs": given,
    }
    return _Prepared(document, {name: plain_tensor(name, tensor) for name, tensor in stored.items()})


def load_artifact(path: str | os.PathLike[str], *, allow: Iterable[str] = ()) -> Artifact:
    """Load a file that `save_artifact` wrote. Nothing in the file is executed or imported; every byte is checked.

    Args:
        path: of the file.
        allow: ops of other libraries that the graph may call, where you trust them: `torchvision.nms` or `torchvision`.

    Raises:
        ArtifactError: no file, no artifact, damaged, too new, or asking for what artifacts may not do.
    """
    try:
        content = container.read(_path(path))
        document = record(content.document, "the document", _DOCUMENT, {"plan": dict})
        plan = decode_plan(document["plan"]) if "plan" in document else {}
        loaded = _assemble(document, content.tensors, frozenset(allow))
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error.message}", hint=error.hint or _WAY_OUT) from None
    versions = {"fxcompress": content.writer, "torch": document["torch"], "format": str(content.version)}
    return Artifact(loaded.module, document["pipeline"], loaded.inputs, loaded.notes, versions, Path(path), plan)


_WAY_OUT = "the file is damaged or was not made by fxcompress; save it again from the model"
_DOCUMENT: dict[str, type] = {
    "fxcompress": str,
    "torch": str,
    "pipeline": str,
    "notes": list,
    "tensors": list,
    "graph": dict,
    "signature": object,
    "form": dict,
    "types": dict,
    "symbols": dict,
    "inputs": object,
    "payloads": list,
}


def _assemble(document: dict[str, Any], stored: Mapping[str, torch.Tensor], extra: frozenset[str]) -> _Loaded:
    """Make the module that a document describes."""
    notes = list(strings(document["notes"], "the notes"))
    holder = decode_tensors(document["tensors"], stored)
    graph = decode_graph(document["graph"], holder, extra)
    decode_signature(document["signature"], graph, notes.append)
    module = CapturedModule(holder, graph)
    # The holder has the order of the state and the buffers that are not persistent; a graph module knows neither.
    for key in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
        module.__dict__[key] = holder.__dict__[key]
    decode_form(document["form"], module)
    restore_types(module, document["types"], document["symbols"])
    module.meta["notes"] = tuple(notes)
    module.eval()
    return _Loaded(module, decode_inputs(document["inputs"], stored), tuple(notes))


def _path(path: Any) -> Path:
    if isinstance(path, str | os.PathLike):
        return Path(path)
    raise ArtifactError(f"a {type(path).__name__} is no path", hint="name a file, as text or as a pathlib.Path")


def _own_version() -> str:
    try:
        return version("fxcompress")
    except PackageNotFoundError:
        return "0"
