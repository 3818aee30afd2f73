"""Losses between what a teacher and a student predict: logits over classes.

Logits have their classes in dimension 1 where there are four dimensions or more (images of logits), else in the last.
Every row of logits counts the same.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def rows_of_logits(logits: torch.Tensor) -> torch.Tensor:
    """Return logits as rows, [rows, classes]."""
    last = logits.movedim(1, -1) if logits.dim() > 3 else logits
    return last.reshape(-1, last.shape[-1])


def soft_targets(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence of softened predictions, times the temperature squared.

    The factor keeps gradients as large as those of labels (Hinton, Vinyals and Dean, 2015, "Distilling the Knowledge in
    a Neural Network").

    Args:
        student, teacher: logits of the same shape.
    """
    mine = functional.log_softmax(rows_of_logits(student) / temperature, -1)
    theirs = functional.log_softmax(rows_of_logits(teacher) / temperature, -1)
    return functional.kl_div(mine, theirs, reduction="batchmean", log_target=True) * temperature**2


def soft_top_targets(
    student: torch.Tensor, classes: torch.Tensor, softened: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return what `soft_targets` gives where all classes that the teacher does not name count as one.

    Args:
        student: logits [..., all classes].
        classes: int64 [..., k], the classes that the teacher names.
        softened: [..., k + 1], the teacher's logits over the temperature, that of all other classes last.
    """
    mine = functional.log_softmax(rows_of_logits(student) / temperature, -1)
    named = classes.reshape(-1, classes.shape[-1])
    others = torch.ones_like(mine, dtype=torch.bool).scatter_(-1, named, False)
    rest = mine.masked_fill(~others, float("-inf")).logsumexp(-1, keepdim=True)
    theirs = softened.reshape(len(named), -1).to(mine.dtype).log_softmax(-1)
    log_ratio = theirs - torch.cat([mine.gather(-1, named), rest], -1)
    # Nothing is left beside all classes: zero times infinity is not what is meant.
    terms = torch.where(theirs > float("-inf"), theirs.exp() * log_ratio, torch.zeros_like(log_ratio))
    return terms.sum(-1).mean() * temperature**2


def decoupled(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float, labels: torch.Tensor | None, *, others: float
) -> torch.Tensor:
    """Return the divergence on the right class or not, and that among the other classes, weighted apart.

    In `soft_targets` a teacher that is sure of itself leaves the other classes no weight (Zhao and others, 2022,
    "Decoupled Knowledge Distillation").

    Args:
        student, teacher: logits of the same shape.
        labels: int64, one for each row of logits; the class that the teacher likes best where there are none.
        others: weight of the other classes, beta of the paper, whose alpha is 1.
    """
    mine, theirs = rows_of_logits(student) / temperature, rows_of_logits(teacher) / temperature
    right = theirs.argmax(-1) if labels is None else labels.reshape(-1)
    is_right = functional.one_hot(right, mine.shape[-1]).bool()
    binary = functional.kl_div(
        _right_or_not(mine, is_right), _right_or_not(theirs, is_right), reduction="batchmean", log_target=True
    )
    rest = functional.kl_div(_others(mine, is_right), _others(theirs, is_right), reduction="batchmean", log_target=True)
    return (binary + others * rest) * temperature**2


def _right_or_not(logits: torch.Tensor, is_right: torch.Tensor) -> torch.Tensor:
    """Return the logarithms of the probabilities of the right class and of all others, [rows, 2]."""
    logs = logits.log_softmax(-1)
    wrong = logs.masked_fill(is_right, float("-inf")).logsumexp(-1)
    return torch.stack([logs[is_right], wrong], -1)


def _others(logits: torch.Tensor, is_right: torch.Tensor) -> torch.Tensor:
    """Return the logarithms of the probabilities among the classes but the right one, [rows, classes - 1]."""
    return logits[~is_right].view(len(logits), -1).log_softmax(-1)


def binary_targets(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence of predictions that are yes or no for each class, times the temperature squared.

    Args:
        student, teacher: logits of the same shape, of a sigmoid each.
    """
    mine, theirs = student / temperature, torch.sigmoid(teacher / temperature)
    floor = functional.binary_cross_entropy(theirs, theirs)
    return (functional.binary_cross_entropy_with_logits(mine, theirs) - floor) * temperature**2
