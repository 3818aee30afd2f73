"""What a compressed module becomes on disk. This module is the plugin that registers the built-in targets."""

from collections.abc import Callable

from fxcompress.contract import Target
from fxcompress.hookspecs import hookimpl
from fxcompress.targets.artifact import Artifact, artifact_bytes, load_artifact, save_artifact
from fxcompress.targets.choosing import coded_by, target_for
from fxcompress.targets.fxc import Fxc
from fxcompress.targets.listing import Listing, list_artifact
from fxcompress.targets.onnx import Onnx
from fxcompress.targets.pt2 import Pt2

__all__ = [
    "Artifact",
    "Listing",
    "artifact_bytes",
    "coded_by",
    "list_artifact",
    "load_artifact",
    "save_artifact",
    "target_for",
]


@hookimpl
def register_targets(register: Callable[[type[Target]], None]) -> None:
    for cls in (Fxc, Onnx, Pt2):
        register(cls)
