"""A graph of ours as an `ExportedProgram`, which PyTorch's own tools take."""

from __future__ import annotations

import warnings

from torch.export import ExportedProgram
from torch.fx import GraphModule

from fxcompress.capturing import CaptureWarning, Inputs
from fxcompress.capturing.batch import takes_any_size
from fxcompress.capturing.export import export_model
from fxcompress.clustering import without_sharing
from fxcompress.errors import CaptureError, ExportError
from fxcompress.graph.module import CapturedModule, copy_graph
from fxcompress.sparsity import without_masks


def exported_program(module: CapturedModule, inputs: Inputs) -> ExportedProgram:
    """Return `module` as a program, in which an open batch size is open too.

    Args:
        module: a graph in evaluation mode; it is not changed, and the program shares its tensors; masks become
            plain zeros.
        inputs: example inputs.

    Raises:
        InputError: the inputs do not fit.
        ExportError: `torch.export` does not take the graph.
    """
    module = without_sharing(without_masks(module))
    args, kwargs = module.call_form().fit(inputs.args, inputs.kwargs)
    # Without the check of inputs that a `CapturedModule` makes in Python at every call.
    plain = GraphModule(module, copy_graph(module.graph))
    wanted = takes_any_size(module.graph)
    try:
        traced = export_model(plain, Inputs(*args, **kwargs), wanted)
    except CaptureError as error:
        raise ExportError(f"the graph cannot be exported: {error.message}", hint=error.hint) from error
    if wanted and traced.notes:
        warnings.warn(CaptureWarning(f"exported: {'; '.join(traced.notes)}"), stacklevel=2)
    return traced.program
