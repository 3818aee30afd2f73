"""The network of `ccexam` on MNIST, calibrated on images that it was trained with."""

from __future__ import annotations

import inspect

from pruning.mnist import mnist_images, mnist_network

from fxcompress.demo.digits import accuracy
from quantizing.subject import Subject


def digits(samples: int) -> Subject:
    """Return the network, calibrated on `samples` of the 60,000 images; its metric is on the other 10,000."""
    (seen, unseen), network = mnist_images(), mnist_network()
    name = next(iter(inspect.signature(network.forward).parameters))
    batches = [{name: pixels} for pixels in seen.pixels[:samples].split(64)]
    probe = {name: seen.pixels[-256:]}
    return Subject("MNIST", network, probe, batches, {"accuracy": lambda one: accuracy(one, unseen)}, lambda out: out)
