"""Operators for graphs that are lowered for a GPU; importing them touches no GPU and needs no Triton.

All are in `torch.ops.fxcompress`. Each has a schema, a rule for types, an implementation in plain calls of torch, which
runs on the CPU, and one in Triton, which is imported at the first call on a GPU.

    gpu_linear_weight_only(Tensor input, Tensor weight, Tensor scales, Tensor? zeros, Tensor? bias, Tensor? residual,
                           int bits, int group, str activation) -> Tensor
    gpu_linear_gated(Tensor input, Tensor gate, Tensor gate_scales, Tensor? gate_zeros, Tensor up, Tensor up_scales,
                     Tensor? up_zeros, int bits, int group, str activation) -> Tensor
    gpu_quantize_rows(Tensor input, *, ScalarType? dtype=None) -> (Tensor values, Tensor scales)
    gpu_norm_quantize_rows(Tensor input, Tensor? other, Tensor? weight, Tensor? bias, str kind, float eps, *,
                           ScalarType? dtype=None) -> (Tensor values, Tensor scales)
    gpu_linear_int8(Tensor values, Tensor row_scales, Tensor weight, Tensor scales, Tensor? bias, Tensor? residual,
                    str activation, ScalarType dtype) -> Tensor
    gpu_linear_fp8(Tensor values, Tensor row_scales, Tensor weight, Tensor scales, Tensor? bias, Tensor? residual,
                   str activation, ScalarType dtype) -> Tensor

A linear is `activation(x W^T + bias) + residual`; sums are float32 (int32 for int8 times int8), and are rounded once,
to the dtype of the result. `activation` is one of `fxcompress.kernels.products.POSTS`. Weights are stored row by row as
the module saves them: int8 [N, K] for 8 bits, uint8 [N, (K + 1) / 2] for 4 (see `nibbles`). What a GPU wants of them is
made at the first call there, and kept beside them (see `fxcompress.kernels.packing`).
"""

from fxcompress.kernels.gpu import quantized, rows, sparse, static, weight_only

__all__ = ["quantized", "rows", "sparse", "static", "weight_only"]
