"""Probabilities and their logits as whole numbers, the same on every machine.

A probability is one of 1 to 65535, in 2**-16. A logit, ln(p / (1 - p)), is in 2**-8 and cut at 11.
The tables come from `decimal`, whose `exp` and `ln` are rounded correctly; those of a processor are not everywhere.
"""

from __future__ import annotations

import functools
from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

ONE = 1 << 16
LOGIT_ONE = 256
LARGEST = 11 * LOGIT_ONE
_CELLS = 4096
_CONTEXT = Context(prec=24)

Whole = NDArray[np.int64]


@functools.cache
def logit_table() -> Whole:
    """Return the logit of the middle of each of 4096 ranges of probabilities."""
    logits = [round(_logit(Decimal(2 * cell + 1) / (2 * _CELLS)) * LOGIT_ONE) for cell in range(_CELLS // 2, _CELLS)]
    return np.array([-one for one in reversed(logits)] + logits, np.int64)


def _logit(probability: Decimal) -> Decimal:
    return _CONTEXT.ln(_CONTEXT.divide(probability, 1 - probability))


@functools.cache
def probability_table() -> Whole:
    """Return the probability of every logit from `-LARGEST` to `LARGEST`."""
    upper = [round(_CONTEXT.divide(ONE, 1 + _CONTEXT.exp(-Decimal(x) / LOGIT_ONE))) for x in range(LARGEST + 1)]
    upper = [min(one, ONE - 1) for one in upper]
    return np.array([ONE - one for one in reversed(upper[1:])] + upper, np.int64)


def logits_of(probabilities: Whole) -> Whole:
    """Return the logits of probabilities from 0 to 1, where the ends count as their neighbours."""
    return logit_table().take(probabilities >> 4, mode="clip")


def logit_of(probability: int) -> int:
    """Return the logit of one probability, as `logits_of` does."""
    return int(logit_table()[min(probability, ONE - 1) >> 4])


def probabilities_of(logits: Whole) -> Whole:
    """Return the probabilities of logits, which are cut at `LARGEST`; changes `logits`."""
    logits += LARGEST
    return probability_table().take(logits, mode="clip")
