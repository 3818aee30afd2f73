"""Losses between what a teacher and a student see inside.

Features are [batch, channels, *space] of images with four dimensions or more, else [batch, ..., channels].
"""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.teaching.transforms import feature_dim

# Of distances and of angles, as in the paper.
_DISTANCES, _ANGLES = 1.0, 2.0


def rows_of_features(features: torch.Tensor) -> torch.Tensor:
    """Return the features of every place as a row, [places, channels]."""
    return features.movedim(feature_dim(features.dim()), -1).flatten(0, -2)


def hint(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference, as a share of the teacher's mean square.

    Romero and others, 2015, "FitNets: Hints for Thin Deep Nets". The share makes weights mean the same for every layer.

    Args:
        student, teacher: features of the same shape.
    """
    scale = teacher.square().mean().clamp_min(torch.finfo(teacher.dtype).tiny)
    return functional.mse_loss(student, teacher) / scale


def cosine(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return 1 less the mean cosine between the features of every place, which have the same shape."""
    return 1 - functional.cosine_similarity(rows_of_features(student), rows_of_features(teacher)).mean()


def attention(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the squared distance between maps of where the features are strong, summed over places.

    Zagoruyko and Komodakis, 2017, "Paying More Attention to Attention". The numbers of channels may differ.

    Args:
        student, teacher: features with the same batch and space.
    """
    return (_map(student) - _map(teacher)).square().sum(-1).mean()


def _map(features: torch.Tensor) -> torch.Tensor:
    """Return the strength of every place, each sample's of length 1, [batch, places]."""
    strength = features.square().mean(feature_dim(features.dim()))
    return functional.normalize(strength.flatten(1), dim=1)


def relational(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return how distances between samples, and angles between three of them, differ.

    Park and others, 2019, "Relational Knowledge Distillation". Only the batch must be the same. Of a batch of one
    sample it is 0.
    """
    mine, theirs = student.flatten(1), teacher.flatten(1)
    if len(mine) < 2:
        return mine.sum() * 0
    distances = functional.smooth_l1_loss(_distances(mine), _distances(theirs))
    angles = functional.smooth_l1_loss(_angles(mine), _angles(theirs))
    return _DISTANCES * distances + _ANGLES * angles


def _distances(samples: torch.Tensor) -> torch.Tensor:
    """Return the distances between samples as shares of their mean, [batch, batch]."""
    squares = samples.square().sum(1)
    square = squares[:, None] + squares[None] - 2 * samples @ samples.T
    # The root has no gradient at 0, and what lies on the diagonal is 0.
    apart = ~torch.eye(len(samples), dtype=torch.bool, device=samples.device)
    distances = torch.where(apart, square.clamp_min(1e-12), torch.ones_like(square)).sqrt() * apart
    return distances / (distances.sum() / apart.sum()).clamp_min(1e-12)


def _angles(samples: torch.Tensor) -> torch.Tensor:
    """Return the cosines at every sample between the directions to two others, [batch, batch, batch]."""
    directions = functional.normalize(samples[None] - samples[:, None], dim=2)
    return directions @ directions.transpose(1, 2)


def similarity(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return how the similarities between the samples of a batch differ: the mean over pairs, times the batch.

    Tung and Mori, 2019, "Similarity-Preserving Knowledge Distillation", whose mean over pairs shrinks with the batch:
    rows of length 1 have squares of 1 over the batch.
    """
    mine, theirs = _similarities(student), _similarities(teacher)
    return (mine - theirs).square().sum(1).mean()


def _similarities(features: torch.Tensor) -> torch.Tensor:
    samples = features.flatten(1)
    return functional.normalize(samples @ samples.T, dim=1)
