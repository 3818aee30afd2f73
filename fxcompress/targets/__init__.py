"""What a compressed module becomes on disk: the `.fxc` artifact."""

from fxcompress.targets.artifact import Artifact, artifact_bytes, load_artifact, save_artifact

__all__ = ["Artifact", "artifact_bytes", "load_artifact", "save_artifact"]
