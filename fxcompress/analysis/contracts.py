"""Whether a call without a rule may contract tensors: only where that is ruled out does it count as zero."""

from __future__ import annotations

from operator import getitem

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from fxcompress.analysis.sizes import value_of

KNOWN_NAMESPACES = {"aten", "prims", "quantized_decomposed"}
HARMLESS_TAGS = {torch.Tag.pointwise, torch.Tag.reduction, torch.Tag.view_copy}

# Ops of two or more floating tensors that move, compare or normalise, and which PyTorch does not tag as such.
_ELEMENTWISE = """
    _unsafe_index_put _unsafe_masked_index_put_accumulate _weight_norm _weight_norm_interface addr as_strided_scatter
    batch_norm _batch_norm_no_update _native_batch_norm_legit _native_batch_norm_legit_functional
    _native_batch_norm_legit_no_training native_batch_norm cudnn_batch_norm instance_norm group_norm native_group_norm
    layer_norm native_layer_norm rms_norm _fused_rms_norm _prelu_kernel prelu allclose atleast_1d atleast_2d atleast_3d
    binary_cross_entropy binary_cross_entropy_with_logits block_diag broadcast_tensors bucketize cartesian_prod cat
    concat concatenate column_stack complex copy cosine_embedding_loss cosine_similarity cross cross_entropy_loss
    diagonal_scatter diff dist divide dstack fill floor_divide ger outer kron greater greater_equal grid_sampler
    grid_sampler_2d grid_sampler_3d cudnn_grid_sampler hinge_embedding_loss hstack huber_loss index_add index_copy
    index_fill index_put index_reduce is_same_size isclose isin kl_div l1_loss less less_equal linspace
    margin_ranking_loss masked_fill masked_scatter meshgrid mse_loss multiply nll_loss nll_loss_nd not_equal
    pad_sequence pairwise_distance poisson_nll_loss polar put row_stack rrelu_with_noise rsub scatter scatter_add
    scatter_reduce searchsorted segment_reduce select_scatter slice_scatter smooth_l1_loss soft_margin_loss stack _stack
    subtract true_divide triplet_margin_loss type_as vstack where
    fake_quantize_per_channel_affine fake_quantize_per_tensor_affine
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())

# Ops that multiply one tensor with itself or with a fixed matrix, hence contract although they read only one.
_SELF_PRODUCTS = """
    chain_matmul cholesky cholesky_inverse corrcoef cov det geqrf inverse istft logdet lu_solve matrix_exp matrix_power
    orgqr pinverse qr slogdet stft svd pdist _pdist_forward embedding_bag _embedding_bag _embedding_bag_forward_only
"""
SELF_PRODUCTS = frozenset(_SELF_PRODUCTS.split())
SELF_PRODUCT_PREFIXES = ("linalg_", "_linalg_", "fft_", "_fft_")


def may_contract(node: Node) -> bool:
    """Whether the call `node`, for which there is no rule, may multiply tensors with each other and add up."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        # A higher-order op stands for a graph of its own, and Python on sizes gives no tensor.
        return isinstance(target, torch._ops.HigherOrderOperator) or (target is not getitem and gives_floating(node))
    if HARMLESS_TAGS & set(target.tags) or not gives_floating(node):
        return False
    name = str(target.overloadpacket.__name__)
    if target.namespace not in KNOWN_NAMESPACES or is_self_product(name):
        return True
    if gives_view(target) or name.removesuffix("_") in ELEMENTWISE or target.namespace == "quantized_decomposed":
        return False
    return sum(is_floating(value_of(source)) for source in node.all_input_nodes) > 1


def is_self_product(name: str) -> bool:
    return name in SELF_PRODUCTS or (name.startswith(SELF_PRODUCT_PREFIXES) and name != "linalg_vector_norm")


def gives_view(target: torch._ops.OpOverload) -> bool:
    """Whether the op gives a view of an argument, so that it computes nothing."""
    aliases = [result.alias_info for result in target._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def gives_floating(node: Node) -> bool:
    return any(is_floating(leaf) for leaf in pytree.tree_leaves(value_of(node)))


def is_floating(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(is_floating(item) for item in value)
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
