"""Which functions a graph of an artifact may call: exact names, looked up in tables, never imported.

Left out on purpose: whatever reads or writes files, prints or blocks (`from_file`, `save`, `warn`, `wait`), changes
the process (`manual_seed`, `set_grad_enabled`), gives a tensor other memory (`set_`, `resize_`, `data`), every
overload that writes to an `out` argument, the overloads of TorchScript on lists and strings, sparse, nested and
quantized layouts, and private ops but the few that models and our passes use. `as_strided` is in: PyTorch checks
that what it reads lies in the storage. Every op in the list has a type rule of its own, so that types are computed
without running a kernel.
"""

from __future__ import annotations

import importlib
import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from fxcompress.errors import ArtifactError
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.targets.json_text import short

# One name a line would be nine hundred lines.
_ATEN = frozenset(
    """
    __and__ __or__ __xor__ __lshift__ __rshift__ abs absolute acos acosh add addcdiv addcmul angle arccos arccosh
    arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not
    bitwise_or bitwise_right_shift bitwise_xor ceil clamp clamp_max clamp_min clip copysign cos cosh deg2rad digamma
    div divide eq erf erfc erfinv exp exp2 expm1 float_power floor floor_divide fmax fmin fmod frac frexp gcd ge
    greater greater_equal gt heaviside hypot i0 isclose isfinite isinf isnan isneginf isposinf isreal lcm ldexp le
    lerp less less_equal lgamma log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or
    logical_xor logit lt maximum minimum mul multiply nan_to_num ne neg negative nextafter not_equal polygamma
    positive pow rad2deg reciprocal remainder round rsqrt rsub sgn sigmoid sign signbit sin sinc sinh special_entr
    special_erf special_erfc special_erfinv special_exp2 special_expit special_expm1 special_gammaln special_i0
    special_i0e special_i1 special_i1e special_log1p special_log_ndtr special_log_softmax special_logit
    special_logsumexp special_ndtr special_round special_sinc special_softmax special_xlog1py special_xlogy sqrt
    square sub subtract tan tanh true_divide trunc where xlogy

    celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish prelu relu
    relu6 rrelu selu silu softmax softplus softshrink threshold _softmax _log_softmax

    all allclose amax amin aminmax any argmax argmin argsort argwhere bincount bucketize count_nonzero cummax cummin
    cumprod cumsum diff dist equal histc kthvalue logcumsumexp logsumexp max mean median min mode msort nanmean
    nanmedian nanquantile nansum nonzero nonzero_static norm prod quantile renorm searchsorted sort std std_mean sum
    sum_to_size topk trace trapezoid trapz unique_consecutive unique_dim var var_mean _unique2

    addbmm addmm addmv addr baddbmm bilinear bmm cdist chain_matmul cholesky_inverse cholesky_solve
    cosine_similarity cross dot einsum inner kron linalg_cholesky linalg_cholesky_ex linalg_cross linalg_det
    linalg_diagonal linalg_eigh linalg_eigvalsh linalg_householder_product linalg_inv linalg_inv_ex linalg_lu
    linalg_lu_factor linalg_lu_solve linalg_matmul linalg_matrix_exp linalg_matrix_norm linalg_multi_dot linalg_norm
    linalg_pinv linalg_qr linalg_slogdet linalg_solve linalg_solve_ex linalg_solve_triangular linalg_svd
    linalg_svdvals linalg_vecdot linalg_vector_norm linear logdet matmul matrix_exp mm mv outer pairwise_distance
    pdist tensordot vdot _trilinear _weight_norm

    _convert_weight_to_int4pack _convert_weight_to_int4pack_for_cpu _dyn_quant_matmul_4bit
    _dyn_quant_pack_4bit_weight _grouped_mm _int_mm _scaled_grouped_mm _scaled_mm _weight_int4pack_mm
    _weight_int4pack_mm_for_cpu _weight_int8pack_mm

    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d affine_grid_generator avg_pool1d avg_pool2d avg_pool3d channel_shuffle col2im conv1d conv2d
    conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d convolution fractional_max_pool2d
    fractional_max_pool3d grid_sampler grid_sampler_2d grid_sampler_3d im2col max_pool1d max_pool1d_with_indices
    max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d max_unpool3d
    native_channel_shuffle pixel_shuffle pixel_unshuffle upsample_bicubic2d upsample_bilinear2d upsample_linear1d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d _adaptive_avg_pool2d
    _adaptive_avg_pool3d _convolution _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d

    batch_norm group_norm instance_norm layer_norm native_batch_norm native_group_norm native_layer_norm rms_norm
    _batch_norm_no_update _batch_norm_with_update _fused_rms_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training

    embedding embedding_bag one_hot scaled_dot_product_attention _scaled_dot_product_attention_math
    _scaled_dot_product_flash_attention_for_cpu gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh
    rnn_tanh_cell

    binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy_loss ctc_loss
    hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss
    multilabel_margin_loss nll_loss nll_loss2d nll_loss_nd poisson_nll_loss smooth_l1_loss soft_margin_loss
    triplet_margin_loss

    alpha_dropout bernoulli dropout exponential feature_alpha_dropout feature_dropout multinomial native_dropout
    normal normal_functional poisson rand rand_like randint randint_like randn randn_like randperm uniform

    adjoint alias alias_copy as_strided as_strided_copy as_strided_scatter atleast_1d atleast_2d atleast_3d
    block_diag broadcast_tensors broadcast_to cat chunk clone column_stack complex concat concatenate conj
    conj_physical constant_pad_nd contiguous copy detach detach_copy diag diag_embed diagflat diagonal diagonal_copy
    diagonal_scatter dstack expand expand_as expand_copy fill flatten flip fliplr flipud gather hstack imag index
    index_add index_copy index_fill index_put index_reduce index_select lift lift_fresh lift_fresh_copy masked_fill
    masked_scatter masked_select matrix_H mH mT meshgrid moveaxis movedim narrow narrow_copy numpy_T pad permute
    permute_copy polar put ravel real repeat repeat_interleave reshape reshape_as resolve_conj resolve_neg roll
    rot90 row_stack scatter scatter_add scatter_reduce select select_copy select_scatter slice slice_copy
    slice_scatter split split_copy split_with_sizes split_with_sizes_copy squeeze squeeze_copy stack swapaxes
    swapdims t t_copy take take_along_dim tensor_split tile to transpose transpose_copy tril triu type_as unbind
    unbind_copy unflatten unfold unfold_copy unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze
    unsqueeze_copy view view_as view_as_complex view_as_real view_copy vstack zero _conj _neg_view _reshape_alias
    _reshape_copy _to_copy _unsafe_view

    arange bartlett_window blackman_window empty empty_like empty_permuted empty_strided eye full full_like
    hamming_window hann_window kaiser_window linspace logspace new_empty new_empty_strided new_full new_ones
    new_zeros ones ones_like scalar_tensor tril_indices triu_indices vander zeros zeros_like

    fft_fft fft_fft2 fft_fftfreq fft_fftn fft_fftshift fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn
    fft_ifftshift fft_ihfft fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftfreq
    fft_rfftn istft stft _fft_c2c _fft_c2r _fft_r2c

    fake_quantize_per_channel_affine fake_quantize_per_tensor_affine

    item _local_scalar_dense numel size stride storage_offset sym_numel sym_size sym_storage_offset sym_stride
    sym_constrain_range sym_constrain_range_for_size is_complex is_floating_point _assert_async _assert_scalar
    _assert_tensor_metadata
    """.split()  # noqa: SIM905
)

_QUANTIZED_DECOMPOSED = frozenset(
    (
        *(
            "choose_qparams",
            "choose_qparams_symmetric",
            "choose_qparams_per_token",
            "choose_qparams_per_token_asymmetric",
        ),
        *("quantize_per_tensor", "quantize_per_channel", "quantize_per_channel_group", "quantize_per_token"),
        *("dequantize_per_tensor", "dequantize_per_channel", "dequantize_per_channel_group", "dequantize_per_token"),
        *("convert_element_type", "fake_quant_per_channel"),
    )
)

# Python's own functions on sizes, as exported graphs call them.
_TABLE = tuple(
    (f"{module.__name__}.{name}", getattr(module, name), arity)
    for module, arity, names in (
        (operator, 1, "neg pos abs not_"),
        (operator, 2, "add sub mul floordiv truediv mod pow getitem eq ne lt le gt ge and_ or_ xor"),
        (math, 1, "ceil floor trunc sqrt"),
        (torch, 1, "sym_int sym_float sym_not sym_sum _sym_sqrt"),
        (torch, 2, "sym_max sym_min"),
        (torch, 3, "sym_ite"),
    )
    for name in names.split()
)
_FUNCTIONS: dict[str, Callable[..., Any]] = {name: function for name, function, _ in _TABLE}
_NAMES: dict[Callable[..., Any], str] = {function: name for name, function, _ in _TABLE}
_ARITY: dict[Callable[..., Any], int] = {function: arity for _, function, arity in _TABLE}


def function_text(target: Any, extra: frozenset[str] = frozenset()) -> str:
    """Return the name of a function that a graph calls: `aten.conv2d.default`, `operator.mul`.

    Raises:
        ArtifactError: no artifact may call it.
    """
    if isinstance(target, torch._ops.OpOverload):
        namespace, name = target._schema.name.split("::", 1)
        text = f"{namespace}.{name}.{target._overloadname}"
    else:
        text = _NAMES.get(target, "") if callable(target) else ""
        if not text:
            described = getattr(target, "__name__", str(target))
            raise ArtifactError(f"{described} is no ATen op and no function on sizes, so no artifact may call it")
    if resolve(text, extra) is not target:
        raise ArtifactError(f"the name {text} does not lead back to the function that the graph calls")
    return text


def arity(function: Callable[..., Any]) -> int:
    """Return how many arguments one of Python's own functions takes."""
    return _ARITY[function]


def resolve(text: str, extra: frozenset[str] = frozenset()) -> Callable[..., Any]:
    """Return the function of that name.

    Args:
        text: as `function_text` gives it.
        extra: names of further ops that the caller trusts: `torchvision.nms`, or `torchvision` for all of them.

    Raises:
        ArtifactError: the name is not on the allow list, or PyTorch has no such op.
    """
    if text in _FUNCTIONS:
        return _FUNCTIONS[text]
    words = text.split(".")
    plain = len(words) == 3 and all(word.isascii() and word.isidentifier() for word in words)
    if not plain or not _allowed(words, extra):
        raise ArtifactError(f"the function {short(text)} is not on the allow list", hint=_TRUST)
    return _overload(*words)


_TRUST = "artifacts call ATen ops and fxcompress' own; name an op of another library in allow=[...] where you trust it"


def _allowed(words: list[str], extra: frozenset[str]) -> bool:
    namespace, name, _ = words
    if namespace in extra or f"{namespace}.{name}" in extra:
        return namespace != "aten"
    if namespace == "aten":
        # The in-place twin of an op is as harmless as the op, but for the one that gives a tensor another geometry.
        return name in _ATEN or (name[-1:] == "_" and name[:-1] in _ATEN and name != "as_strided_")
    if namespace == "quantized_decomposed":
        return name in _QUANTIZED_DECOMPOSED
    return namespace == "fxcompress" and not name.startswith("_")


def _overload(namespace: str, name: str, overload: str) -> torch._ops.OpOverload:
    if namespace == "quantized_decomposed":
        quantized_decomposed()
    if namespace == "fxcompress":
        importlib.import_module("fxcompress.kernels")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    if not isinstance(packet, torch._ops.OpOverloadPacket) or overload not in packet.overloads():
        raise ArtifactError(
            f"this PyTorch ({torch.__version__}) has no op {namespace}.{name}.{overload}",
            hint="load it with the versions it was saved with, or import what registers the op first",
        )
    found = getattr(packet, overload)
    assert isinstance(found, torch._ops.OpOverload)
    if any(argument.is_out for argument in found._schema.arguments):
        raise ArtifactError(f"the overload {found} writes to an argument and is not on the allow list")
    if not torch._C._dispatch_has_kernel(found.name()):
        raise ArtifactError(f"the overload {found} is one of TorchScript and is not on the allow list")
    return found
