"""The cost of graphs against `torch.utils.flop_counter` on the running model, and against figures by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import fxcompress as fxc
from fxcompress.analysis.cost import cost
from fxcompress.analysis.mac_rules import RULES
from fxcompress.capturing import Inputs, capture
from fxcompress.errors import FxcompressError, InputError


class Calls(nn.Module):
    """A model that is one function of its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def module_of(model, inputs, dynamic="none"):
    return capture(model.eval(), inputs, dynamic=dynamic).module


def counted_macs(model, inputs):
    """Half the operations that PyTorch's counter sees when the model runs, attention composed of products."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.eval()(*inputs)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


LAYERS = {
    "conv1d": (nn.Conv1d(3, 5, 4, stride=2, bias=False), (2, 3, 17)),
    "conv2d": (nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=1), (2, 3, 11, 9)),
    "conv2d same": (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 9, 9)),
    "conv2d grouped": (nn.Conv2d(8, 12, 3, groups=4), (2, 8, 7, 7)),
    "conv2d depthwise": (nn.Conv2d(6, 6, 3, groups=6, padding=1), (2, 6, 8, 8)),
    "conv3d": (nn.Conv3d(2, 3, 3, padding=1), (2, 2, 5, 6, 7)),
    "conv unbatched": (nn.Conv2d(3, 4, 3), (3, 8, 8)),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 9)),
    "conv_transpose2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 5, 5)),
    "conv_transpose3d": (nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 2, 3, 4, 3)),
    "linear": (nn.Linear(7, 5), (2, 3, 7)),
    "rnn cell free": (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4, bias=False)), (3, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_cost_what_the_counter_sees(name):
    model, shape = LAYERS[name]
    inputs = (torch.randn(shape),)
    assert cost(module_of(model, inputs)).macs == counted_macs(model, inputs) > 0


PRODUCTS = {
    "matmul": (torch.matmul, [(2, 3, 4, 5), (5, 6)]),
    "matmul broadcast": (torch.matmul, [(3, 1, 4, 5), (2, 5, 6)]),
    "mm": (torch.mm, [(4, 5), (5, 6)]),
    "bmm": (torch.bmm, [(3, 4, 5), (3, 5, 6)]),
    "addmm": (torch.addmm, [(6,), (4, 5), (5, 6)]),
    "baddbmm": (torch.baddbmm, [(4, 6), (3, 4, 5), (3, 5, 6)]),
    "tensordot": (lambda a, b: torch.tensordot(a, b, dims=([2, 1], [0, 1])), [(3, 4, 5), (5, 4, 6)]),
    "attention": (functional.scaled_dot_product_attention, [(2, 4, 7, 8), (2, 4, 9, 8), (2, 4, 9, 6)]),
    "einsum product": (lambda a, b: torch.einsum("bik,bkj->bij", a, b), [(2, 3, 4), (2, 4, 5)]),
    "einsum heads": (lambda a, b: torch.einsum("bqhd,bkhd->bhqk", a, b), [(2, 3, 4, 5), (2, 6, 4, 5)]),
    "einsum ellipsis": (lambda a, b: torch.einsum("...ij,jk", a, b), [(2, 3, 4, 5), (5, 6)]),
    "einsum broadcast": (lambda a, b: torch.einsum("...i,...i->...", a, b), [(2, 3, 5), (1, 3, 5)]),
    "einsum outer": (lambda a, b: torch.einsum("bi,bj->bij", a, b), [(2, 3), (2, 4)]),
    "einsum lone axis": (lambda a, b: torch.einsum("ijx,jk->ik", a, b), [(3, 4, 7), (4, 5)]),
    "einsum three": (lambda a, b, c: torch.einsum("ij,jk,kl->il", a, b, c), [(3, 4), (4, 5), (5, 6)]),
    "einsum one": (lambda a: torch.einsum("ij->ji", a), [(3, 4)]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_cost_what_the_counter_sees(name):
    function, shapes = PRODUCTS[name]
    model, inputs = Calls(function), tuple(torch.randn(shape) for shape in shapes)
    found = cost(module_of(model, inputs))
    assert found.macs == counted_macs(model, inputs)
    assert not found.unknown


def test_the_path_of_an_einsum_is_followed():
    operands = [torch.randn(shape) for shape in ((9, 8), (8, 7), (7, 1))]
    model = Calls(lambda *tensors: torch.ops.aten.einsum("ij,jk,kl->il", tensors, path=[1, 2, 0, 1]))
    found = cost(module_of(model, tuple(operands)))
    assert found.macs == counted_macs(model, operands) == 8 * 7 + 9 * 8


def test_what_the_counter_does_not_see_is_counted_by_hand():
    lstm = nn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True)
    steps = 2 * 7
    by_hand = steps * 2 * (4 * 6 * (5 + 6) + 4 * 6 * (12 + 6))
    assert cost(module_of(lstm, (torch.randn(2, 7, 5),))).macs == by_hand
    gru = nn.GRU(5, 6)
    assert cost(module_of(gru, (torch.randn(7, 2, 5),))).macs == steps * 3 * 6 * (5 + 6)
    cell = nn.GRUCell(5, 6)
    assert cost(module_of(cell, (torch.randn(2, 5),))).macs == 2 * 3 * 6 * (5 + 6)
    bilinear = nn.Bilinear(3, 4, 5)
    assert cost(module_of(bilinear, (torch.randn(2, 3), torch.randn(2, 4)))).macs == 2 * 5 * (3 * 4 + 4)
    distances = Calls(torch.cdist)
    assert cost(module_of(distances, (torch.randn(6, 3), torch.randn(7, 3)))).macs == 6 * 7 * 3
    vector = Calls(torch.matmul)
    assert cost(module_of(vector, (torch.randn(4, 5), torch.randn(5)))).macs == 4 * 5
    in_place = Calls(lambda a, b, c: a.addmm_(b, c))
    assert cost(module_of(in_place, (torch.randn(4, 6), torch.randn(4, 5), torch.randn(5, 6)))).macs == 4 * 5 * 6
    few_keys = Calls(lambda q, k: functional.scaled_dot_product_attention(q, k, k, enable_gqa=True))
    inputs = torch.randn(2, 8, 5, 4), torch.randn(2, 2, 5, 4)
    assert cost(module_of(few_keys, inputs)).macs == 2 * 8 * 5 * 5 * (4 + 4)


class Residual(nn.Module):
    """The stem of a ResNet on 32 x 32 and one block."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.head = nn.Linear(16, 10)

    def forward(self, image):
        x = functional.max_pool2d(torch.relu(self.norm(self.stem(image))), 2)
        return self.head((x + self.block(x)).mean((2, 3)))


def test_a_residual_network_by_hand_with_a_dynamic_batch():
    found = cost(module_of(Residual(), (torch.randn(4, 3, 32, 32),), dynamic="batch"))
    stem, conv, head = 16 * 16 * 16 * (3 * 49), 8 * 8 * 16 * (16 * 9), 16 * 10
    assert found.macs == 4 * (stem + 2 * conv + head)
    assert found.params == 16 * 3 * 49 + 2 * 16 + 2 * (16 * 16 * 9 + 16) + 170
    assert found.bytes == 4 * (found.params + 2 * 16) + 8
    rows = {row.scope: row for row in found.by_scope}
    assert (rows["stem"].kind, rows["stem"].macs, rows["stem"].params) == ("Conv2d", 4 * stem, 16 * 3 * 49)
    assert (rows["norm"].params, rows["norm"].bytes, rows["norm"].macs) == (32, 4 * 64 + 8, 0)
    assert (rows["block.0"].macs, rows["block.2"].macs, rows["head"].macs) == (4 * conv, 4 * conv, 4 * head)
    assert rows[""].kind == "Residual"
    assert not found.unknown


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_dynamic_sizes_are_those_of_the_inputs(batch):
    model, inputs = Residual(), (torch.randn(batch, 3, 32, 32),)
    for captured_with in (inputs, (torch.randn(4, 3, 32, 32),)):
        module = module_of(model, captured_with, dynamic="batch")
        assert cost(module, inputs=Inputs(*inputs)).macs == counted_macs(model, inputs)
    with pytest.raises(InputError, match="does not fit"):
        cost(module, inputs=Inputs(torch.randn(2, 3, 31, 32)))


def test_a_product_of_dynamic_sizes_is_bound():
    model = Calls(lambda x: x.flatten(0, 1) @ torch.ones(4, 5))
    module = module_of(model, (torch.randn(3, 6, 4),), dynamic="batch")
    assert cost(module, inputs=Inputs(torch.randn(10, 6, 4))).macs == 60 * 4 * 5


@pytest.mark.parametrize("dynamic", ["none", "batch"])
def test_rows_and_nodes_add_up_to_the_totals(dynamic):
    model = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    found = cost(module_of(model, (torch.randn(3, 5, 16),), dynamic))
    projections, products, hidden = 4 * 16 * 16, 2 * 5 * 16, 2 * 16 * 32
    assert found.macs == 3 * 5 * (projections + products + hidden)
    assert found.macs == sum(found.by_node.values()) == sum(row.macs for row in found.by_scope)
    assert found.params == sum(parameter.numel() for parameter in model.parameters())
    assert found.params == sum(row.params for row in found.by_scope)
    assert found.bytes == sum(row.bytes for row in found.by_scope) == 4 * found.params


def test_a_tensor_whose_path_is_no_scope_belongs_to_its_reader():
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(2, 3, 8)
    holder = Calls(lambda q: holder.attention(q, q, q, need_weights=False)[0])
    holder.attention = model
    rows = {row.scope: row for row in cost(module_of(holder, (x,))).by_scope}
    assert rows["attention"].params == sum(parameter.numel() for parameter in model.parameters())
    assert "attention.out_proj" not in rows


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.embed(tokens))


def test_tied_tensors_count_once():
    found = cost(module_of(Tied(), (torch.randint(0, 11, (2, 5)),)))
    assert (found.params, found.bytes, found.macs) == (66, 264, 2 * 5 * 66)


def test_quantized_weights_count_as_parameters_and_masks_do_not():
    class Stored(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.ones(4, 3, dtype=torch.int8))
            self.register_buffer("keep", torch.ones(4, dtype=torch.bool))

        def forward(self, x):
            return functional.linear(x, self.weight.float()) * self.keep

    found = cost(module_of(Stored(), (torch.randn(2, 3),)))
    assert (found.params, found.bytes, found.macs) == (12, 12 + 4, 2 * 12)


WITHOUT_PRODUCTS = nn.Sequential(
    nn.LayerNorm(8), nn.GELU(), nn.PReLU(), nn.Dropout(), nn.Unflatten(1, (2, 3)), nn.GroupNorm(2, 2),
    nn.Upsample(scale_factor=2), nn.AvgPool2d(2), nn.PixelShuffle(1), nn.Softmax(-1), nn.ZeroPad2d(1), nn.Flatten(),
)  # fmt: skip


def test_elementwise_ops_count_nothing_and_are_known():
    found = cost(module_of(WITHOUT_PRODUCTS, (torch.randn(2, 6, 8),)))
    assert (found.macs, found.by_node, found.unknown) == (0, {}, {})
    moves = Calls(lambda a, b: torch.cat([a[:, :2], torch.where(b > 0, a, b).index_select(1, torch.tensor([0]))], 1))
    found = cost(module_of(moves, (torch.randn(2, 3), torch.randn(2, 3))))
    assert (found.macs, found.unknown) == (0, {})


def test_ops_that_nobody_described_are_named():
    found = cost(module_of(Calls(lambda x: torch.linalg.inv(torch.fft.fft(x).real)), (torch.randn(3, 3),)))
    assert found.macs == 0
    assert sorted(reason.split(".")[1] for reason in found.unknown.values()) == ["fft_fft", "linalg_inv"]


def test_an_op_of_somebody_else_is_unknown_until_it_has_a_rule():
    @torch.library.custom_op("cost_test::product", mutates_args=())
    def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x @ y

    product.register_fake(lambda x, y: x.new_empty(x.shape[0], y.shape[1]))
    module = module_of(Calls(lambda x, y: product(x, y).relu()), (torch.randn(2, 3), torch.randn(3, 4)))
    assert list(cost(module).unknown.values()) == ["cost_test.product.default has no rule"]

    rules = {**RULES, "cost_test.product": lambda call: call.elements("x") * call.result[1]}
    assert cost(module, rules).macs == 2 * 3 * 4
    assert not cost(module, rules).unknown


def test_a_size_that_depends_on_the_data_is_said():
    class Selected(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 5)

        def forward(self, x):
            return self.head(x[x[:, 0] > 0])

    found = cost(module_of(Selected(), (torch.randn(6, 4),)))
    assert found.macs == 0
    assert any("depends on the data" in reason and "linear" in reason for reason in found.unknown.values())


def test_a_graph_without_types_is_refused():
    module = module_of(nn.Linear(3, 4), (torch.randn(2, 3),))
    for node in module.graph.nodes:
        node.meta.pop("val", None)
    with pytest.raises(FxcompressError, match="has no type"):
        cost(module)


def test_a_call_that_a_pass_put_in_belongs_with_what_it_reads():
    module = module_of(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), (torch.randn(2, 4),))
    first, second = module.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default)
    with module.graph.inserting_before(second):
        made = module.graph.call_function(torch.ops.aten.mm.default, (first, first.args[1]))
    made.meta["val"] = first.meta["val"]
    second.replace_input_with(first, made)
    rows = {row.scope: row for row in cost(module).by_scope}
    assert (rows["0"].kind, rows["0"].macs, rows["1"].macs) == ("Linear", 2 * 2 * 16, 2 * 16)


def test_a_graph_of_modules_is_not_taken_for_free():
    found = cost(torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4))))
    assert found.unknown == {"_0": "call_module 0 is no ATen call"}
    assert found.params == 20


def test_every_operator_of_ours_is_described():
    registered = torch._C._dispatch_get_all_op_names()
    names = {name.partition(".")[0].replace("::", ".") for name in registered if name.startswith("fxcompress::")}
    # What packs weights is called by kernels and stands in no graph.
    packers = {name for name in names if name.startswith("fxcompress.packed_")} | {"fxcompress.float_linears"}
    assert names - packers <= set(RULES)


def test_a_convolution_costs_the_same_with_the_pooling_behind_it():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 21, 17)
    conv = nn.Conv2d(3, 8, (5, 3), stride=(2, 1), padding=(2, 1), dilation=(1, 2))
    model = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(8 * 5 * 7, 4))
    text = "quantize{scheme=w8a8-static},lower{measure=false}"
    lowered = fxc.compress(model.eval(), (x,), text, calibration=[x]).module
    assert cost(lowered).macs == counted_macs(model, (x,))
