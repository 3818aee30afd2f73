"""Graphs with operators for GPUs through torch's own tools: export with open sizes, compile, AOTInductor."""

from __future__ import annotations

import io

import pytest
import torch
from gpu_weights import stored_weight
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.export import Dim, export

ops = torch.ops.fxcompress


class Block(nn.Module):
    """A norm, rows in 8 bits, a gated pair of 4 bits, and a linear back."""

    def __init__(self, width=64, hidden=96):
        super().__init__()
        weights = {
            "gate": stored_weight(hidden, width, 4, 32, False),
            "up": stored_weight(hidden, width, 4, 32, True),
            "down": stored_weight(width, hidden, 8, 0, False),
        }
        for name, (weight, scales, zeros, _) in weights.items():
            self.register_buffer(name, weight)
            self.register_buffer(f"{name}_scales", scales / 16)
            if zeros is not None:
                self.register_buffer(f"{name}_zeros", zeros)
        self.register_buffer("norm", torch.rand(width))
        self.register_buffer("square", torch.randint(-128, 128, (width, width), dtype=torch.int8))

    def forward(self, x):
        values, rows = ops.gpu_norm_quantize_rows(x, None, self.norm, None, "rms", 1e-5)
        scales = self.norm / 1000
        x = ops.gpu_linear_int8(values, rows, self.square, scales, None, x, "relu", x.dtype)
        gate, up = (self.gate, self.gate_scales, None), (self.up, self.up_scales, self.up_zeros)
        hidden = ops.gpu_linear_gated(x, *gate, *up, 4, 32, "silu")
        return ops.gpu_linear_weight_only(hidden, self.down, self.down_scales, None, None, x, 8, 0, "none")


@pytest.fixture
def block():
    return Block().eval()


def test_export_with_an_open_number_of_rows(block):
    program = export(block, (torch.randn(3, 64),), dynamic_shapes=({0: Dim("rows", min=1, max=4096)},))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for rows in (2, 9):
        x = torch.randn(rows, 64)
        torch.testing.assert_close(loaded(x), block(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compile(block):
    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, dynamic=True)
    for rows in (2, 9):
        x = torch.randn(rows, 64)
        torch.testing.assert_close(compiled(x), block(x))


def test_export_for_a_gpu_that_is_not_there():
    block = Block()
    with FakeTensorMode():
        for name, buffer in block.named_buffers():
            setattr(block, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda"))
        x = torch.empty(3, 64, device="cuda", dtype=torch.bfloat16)
    program = export(block, (x,), dynamic_shapes=({0: Dim("rows", min=1, max=4096)},), strict=False)
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "fxcompress.gpu_linear_gated.default" in called
    result = next(iter(program.graph.find_nodes(op="output"))).args[0][0].meta["val"]
    assert result.device.type == "cuda"
    assert result.dtype == torch.bfloat16
    assert result.shape[1] == 64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_aot_inductor(block, tmp_path):
    program = export(block, (torch.randn(3, 64),), dynamic_shapes=({0: Dim("rows", min=2, max=4096)},))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "block.pt2"))
    loaded = torch._inductor.aoti_load_package(package)
    for rows in (2, 9):
        x = torch.randn(rows, 64)
        torch.testing.assert_close(loaded(x), block(x))
