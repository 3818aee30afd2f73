"""A pruned student learns from its teacher under `accelerate`:  accelerate launch examples/train_accelerate.py"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from teacher_and_student import accuracy, loader, pair

import fxcompress as fxc


def main() -> tuple[float, float]:
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    teacher, pruned = pair()
    before = accuracy(pruned.module)
    learning = fxc.distillation(pruned.module, teacher)
    optimizer = torch.optim.AdamW(learning.module.parameters(), lr=2e-3)
    student, optimizer, batches = accelerator.prepare(learning.module.train(), optimizer, loader())
    for _ in range(3):
        for pixels, labels in batches:
            optimizer.zero_grad()
            accelerator.backward(learning.loss(student, fxc.Inputs(pixels), labels))
            optimizer.step()
    after = accuracy(pruned.module.cpu())
    accelerator.print(f"teacher {accuracy(teacher.module):.3f}, pruned {before:.3f}, taught {after:.3f}")
    return before, after


if __name__ == "__main__":
    main()
