"""A pruned BERT learns from the whole one under the Trainer of transformers: python examples/train_transformers.py"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import fxcompress as fxc

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
LENGTH = 12


class Sentences(Dataset[dict[str, torch.Tensor]]):
    """Rows of tokens; the label tells whether the first comes again."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(4, 40, (count, LENGTH), generator=generator)
        self.labels = (self.ids[:, 1:] == self.ids[:, :1]).any(1).long()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        ids = self.ids[place]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": self.labels[place]}


class Distiller(Trainer):
    """A `Trainer` whose loss is that of a distillation."""

    def __init__(self, learning: fxc.Distillation, **given: Any) -> None:
        super().__init__(model=learning.module, **given)
        self.learning = learning

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **given: Any) -> torch.Tensor:
        labels = inputs.pop("labels")
        return self.learning.loss(model, fxc.Inputs(**inputs), labels)


def main() -> tuple[float, float]:
    torch.manual_seed(0)
    bert = BertForSequenceClassification(BertConfig(vocab_size=40, num_labels=2, **SIZES)).eval()
    rows = Sentences(256, seed=1)
    example = {"input_ids": rows.ids[:2], "attention_mask": torch.ones_like(rows.ids[:2])}
    teacher = fxc.capture(bert, example)
    student = fxc.compress(teacher, None, "prune{ratio=0.5 round_to=1}").module
    before = distance(student, bert, example)
    learning = fxc.distillation(student, teacher, "soft,cosine", pairs=["bert.encoder.layer.*"], temperature=2.0)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=3, learning_rate=2e-3, save_strategy="no", report_to=[],
            remove_unused_columns=False, per_device_train_batch_size=32, use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        Distiller(learning, args=arguments, train_dataset=rows).train()
    after = distance(student.cpu().eval(), bert.cpu(), example)
    print(f"logits differ by {before:.4f} before and {after:.4f} after")
    return before, after


def distance(student: torch.nn.Module, teacher: torch.nn.Module, example: dict[str, torch.Tensor]) -> float:
    """Return the mean difference of the logits."""
    with torch.no_grad():
        return float((student(**example).logits - teacher(**example).logits).abs().mean())


if __name__ == "__main__":
    main()
