"""A teacher, data for it, and captures of it."""

from __future__ import annotations

import functools

import torch
from taught_nets import pictures

import fxcompress as fxc
from fxcompress.teaching.manifest import Manifest


def batches_of(pixels, size=8):
    """Batches of training data without labels."""
    return [((rows,), None) for rows in pixels.split(size)]


@functools.cache
def graph():
    return fxc.capture(*pictures())


def captured(text, pixels, size=8, **kwargs):
    """Run `capture-teacher` on the network for pictures; return the stage."""
    data = fxc.TrainingData(batches_of(pixels, size))
    return fxc.compress(graph(), None, text, train=data, **kwargs).stages[0]


def images(count, seed=1):
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def contents(folder):
    """The bytes of the shards and of the index, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def manifest(folder):
    return Manifest.read(folder)
