"""The module that every graph runs in: a `GraphModule` whose `train()` and `eval()` reach the flags in the graph."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from fxcompress.graph.call_form import CallForm, fit_inputs
from fxcompress.graph.nodes import argument, is_call, set_argument
from fxcompress.graph.tensors import named_tensors, owner_of

aten = torch.ops.aten

# The argument of an ATen call that says whether the model is in training.
TRAINING_FLAGS: dict[Any, str] = {
    aten.batch_norm: "training",
    aten.dropout: "train",
    aten.dropout_: "train",
    aten.feature_dropout: "train",
    aten.feature_dropout_: "train",
    aten.alpha_dropout: "train",
    aten.alpha_dropout_: "train",
    aten.feature_alpha_dropout: "train",
    aten.feature_alpha_dropout_: "train",
    aten.instance_norm: "use_input_stats",
    aten.rrelu: "training",
    aten.rrelu_: "training",
    aten.native_dropout: "train",
    aten.lstm: "train",
    aten.gru: "train",
    aten.rnn_tanh: "train",
    aten.rnn_relu: "train",
}


class CapturedModule(GraphModule):
    """A graph of ATen calls that is called, trained and saved like the model it was captured from.

    `train()` and `eval()` switch the flags of batch norm and dropout in the graph. A flag that was already on when
    the model was captured in evaluation mode does not follow the mode and stays on (`meta["always_training"]`).
    Other arguments that differ by the mode stand in `meta["in_training"]` of their node: a name, and its values in
    evaluation and in training.

    A call is checked against the types of the graph's inputs, and against what the tracer baked into the graph:
    `meta["parameters"]` (of the `forward` that was captured) and `meta["batch_sizes"]` (where not all will do).
    """

    _call_form: CallForm | None = None

    def __init__(self, root: Any, graph: Graph, class_name: str = "CapturedModule") -> None:
        super().__init__(root, graph, class_name)
        if isinstance(root, torch.nn.Module):
            _keep_tensors(root, self)
            _keep_persistence(root, self)
        if isinstance(root, GraphModule):
            self.meta.update(root.meta)
            self.training = root.training
        self.register_forward_pre_hook(fit_inputs, with_kwargs=True)

    def recompile(self) -> Any:
        self._call_form = None
        return super().recompile()

    def call_form(self) -> CallForm:
        """Return the form of call that the graph takes; made anew where the graph was compiled anew."""
        if self._call_form is None:
            self._call_form = CallForm(self.graph, self.meta.get("parameters", ()), self.meta.get("batch_sizes"))
        return self._call_form

    def train(self, mode: bool = True) -> CapturedModule:
        super().train(mode)
        if switch_training(self.graph, mode):
            self.recompile()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CapturedModule:
        holder = torch.nn.Module()
        holder.__dict__.update(
            {key: copy.deepcopy(value, memo) for key, value in self.__dict__.items() if key in _STATE}
        )
        made = type(self).__mro__[1](holder, copy_graph(self.graph), self._get_name())
        made.meta.update(copy.copy(self.meta))
        made.train(self.training)
        return made  # type: ignore[no-any-return]


def _keep_tensors(root: torch.nn.Module, module: torch.nn.Module) -> None:
    """Give `module` what it lacks of the tensors of `root`: those that no node reads, and second names of tied ones."""
    held = {path for path, _ in named_tensors(module)}
    for path, tensor in named_tensors(root):
        if path not in held:
            source, last = owner_of(root, path)
            owner, last = owner_of(module, path)
            if isinstance(tensor, torch.nn.Parameter):
                owner.register_parameter(last, tensor)
            else:
                owner.register_buffer(last, tensor, persistent=last not in source._non_persistent_buffers_set)


def _keep_persistence(root: torch.nn.Module, module: torch.nn.Module) -> None:
    """Leave out of the `state_dict()` of `module` the buffers that are left out of that of `root`."""
    for path, _ in module.named_buffers(remove_duplicate=False):
        owner, last = owner_of(module, path)
        source = root.get_submodule(path.rpartition(".")[0])
        if last in source._non_persistent_buffers_set:
            owner._non_persistent_buffers_set.add(last)


def copy_graph(graph: Graph) -> Graph:
    """Return a copy of `graph`: new nodes with the old names and shallow copies of their `meta`."""
    made = Graph()
    copies: dict[Node, Node] = {}
    result = made.graph_copy(graph, val_map=copies, return_output_node=True)
    if isinstance(result, tuple):
        value, output = result
        made.output(value, type_expr=getattr(output, "type", None)).meta = copy.copy(output.meta)
    for old, new in copies.items():
        new.meta = copy.copy(old.meta)
    # Of its own accord `deepcopy` would copy pytree specs, whose classes torch deprecates with a warning.
    made._codegen = copy.copy(graph._codegen)
    return made


_STATE = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")


def switch_training(graph: Graph, mode: bool) -> list[Node]:
    """Set what follows the mode in the calls of `graph` to `mode`; return the nodes that changed."""
    changed = []
    for node in graph.nodes:
        values = arguments_of_mode(node, mode)
        if any(argument(node, name) != value for name, value in values.items()):
            for name, value in values.items():
                set_argument(node, name, value)
            changed.append(node)
    return changed


def arguments_of_mode(node: Node, mode: bool) -> dict[str, Any]:
    """Return the arguments of `node` that follow `train()` and `eval()`, with their values in training or not."""
    flag = training_flag(node)
    values: dict[str, Any] = {} if flag is None else {flag: mode}
    for name, (evaluation, training) in node.meta.get("in_training", {}).items():
        values[name] = training if mode else evaluation
    return values


def training_flag(node: Node) -> str | None:
    """Return the name of the argument of `node` that follows `train()` and `eval()`, None where none does."""
    if node.meta.get("always_training"):
        return None
    return next((flag for packet, flag in TRAINING_FLAGS.items() if is_call(node, packet)), None)


def mark_always_training(graph: Graph) -> None:
    """Mark the calls whose flag is on in a graph captured in evaluation mode: it does not follow the mode."""
    for node in graph.nodes:
        flag = training_flag(node)
        if flag is not None and argument(node, flag):
            node.meta["always_training"] = True
