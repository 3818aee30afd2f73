"""Masks over weights: how they live in the graph, which weights they take, and the blocks that kernels want."""

from fxcompress.sparsity.masks import bake_masks as bake_masks
from fxcompress.sparsity.masks import insert_mask as insert_mask
from fxcompress.sparsity.masks import masks_of as masks_of
from fxcompress.sparsity.masks import take_off as take_off
from fxcompress.sparsity.masks import without_masks as without_masks
