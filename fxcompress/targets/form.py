"""The form of call of a captured module as JSON, and back: the parameters of its `forward`, and its batch sizes."""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule

from fxcompress.errors import ArtifactError
from fxcompress.graph.parameters import BatchSizes, Parameter
from fxcompress.targets import arguments, names
from fxcompress.targets.json_text import checked, record

MAX_BATCH = 2**40


def encode_form(module: GraphModule) -> dict[str, Any]:
    """Return the parameters of the `forward` that was captured, and the batch sizes that the graph holds for."""
    sizes = module.meta.get("batch_sizes")
    return {
        "parameters": [
            {
                "name": parameter.name,
                "keyword_only": parameter.keyword_only,
                "optional": parameter.optional,
                "default": arguments.encode(parameter.default),
            }
            for parameter in module.meta.get("parameters", ())
        ],
        "batch_sizes": None if sizes is None else [sizes.minimum, sizes.maximum, sizes.multiple_of],
    }


def decode_form(value: Any, module: GraphModule) -> None:
    """Give `module` the form that `encode_form` wrote."""
    fields = record(value, "the form of call", {"parameters": list, "batch_sizes": object})
    module.meta["parameters"] = tuple(_parameter(parameter) for parameter in fields["parameters"])
    sizes = fields["batch_sizes"]
    module.meta["batch_sizes"] = None if sizes is None else _batch_sizes(checked(sizes, list, "the batch sizes"))


def _parameter(value: Any) -> Parameter:
    kinds = {"name": str, "keyword_only": bool, "optional": bool, "default": object}
    fields = record(value, "a parameter of the form", kinds)
    default = arguments.decode(fields["default"])
    if not (default is None or isinstance(default, bool | int | float | str)):
        raise ArtifactError("the default of a parameter is no plain constant")
    name = names.argument_name(fields["name"], "the parameter")
    return Parameter(name, fields["keyword_only"], fields["optional"], default)


def _batch_sizes(value: list[Any]) -> BatchSizes:
    if len(value) != 3 or not all(type(size) is int and 0 <= size <= MAX_BATCH for size in (value[0], value[2])):
        raise ArtifactError("the batch sizes are not three numbers")
    minimum, maximum, multiple = value
    if multiple < 1 or not (maximum is None or (type(maximum) is int and minimum <= maximum <= MAX_BATCH)):
        raise ArtifactError(f"the batch sizes {value} hold for no batch")
    return BatchSizes(minimum, maximum, multiple)
