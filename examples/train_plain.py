"""A pruned student learns from its teacher in a loop of plain PyTorch, compiled:  python examples/train_plain.py"""

from __future__ import annotations

import torch
from teacher_and_student import accuracy, loader, pair

import fxcompress as fxc


def main(*, compiled: bool = True) -> tuple[float, float]:
    teacher, pruned = pair()
    before = accuracy(pruned.module)
    learning = fxc.distillation(pruned.module, teacher, "soft,hint:0.5", pairs=["second"])
    student = learning.module.train()
    forward = torch.compile(student) if compiled else student
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)
    for _ in range(3):
        for pixels, labels in loader():
            optimizer.zero_grad()
            learning.loss(forward, fxc.Inputs(pixels), labels).backward()
            optimizer.step()
    # The tapped module shares its tensors with the student; taps and projectors are left behind with it.
    after = accuracy(pruned.module)
    print(f"teacher {accuracy(teacher.module):.3f}, pruned {before:.3f}, taught {after:.3f}")
    return before, after


if __name__ == "__main__":
    main()
