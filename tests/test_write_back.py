"""The user's own module becomes what the graph is, the masked original to float error, or nothing of it is moved."""

from __future__ import annotations

import copy
import importlib.util
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import fxcompress as fxc
from fxcompress.errors import FxcompressError, UsageError, WriteBackError

OPERATORS = Path(__file__).parents[1] / "benchmarks" / "zoo_models" / "operators.py"


class Attention(nn.Module):
    """Grouped-query attention with the attributes that code for it has: counts, sizes, and a number like both."""

    def __init__(self, width, heads, groups, size):
        super().__init__()
        self.num_heads, self.num_key_value_heads, self.head_dim = heads, groups, size
        self.num_key_value_groups = heads // groups
        self.all_head_size = heads * size
        self.query = nn.Linear(width, heads * size)
        self.key, self.value = nn.Linear(width, groups * size), nn.Linear(width, groups * size)
        self.out = nn.Linear(heads * size, width)

    def forward(self, x):
        batch, length, _ = x.shape
        q = self.query(x).view(batch, length, self.num_heads, self.head_dim).transpose(1, 2)
        k, v = (
            layer(x).view(batch, length, self.num_key_value_heads, self.head_dim).transpose(1, 2)
            for layer in (self.key, self.value)
        )
        k, v = (one.repeat_interleave(self.num_key_value_groups, 1) for one in (k, v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.out(y.reshape(batch, length, self.all_head_size))


class HandWrittenNorm(nn.Module):
    def __init__(self, width, offset=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)
        self.variance_epsilon = 1e-3
        self.offset = offset

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon) * (self.weight + self.offset)


class Decoder(nn.Module):
    """Embedding tied to the head, blocks of attention and a gated feed-forward, norms by the root mean square."""

    def __init__(self, width=32, offset=0.0):
        super().__init__()
        self.embedding = nn.Embedding(40, width)
        self.model_dim = width
        self.norms = nn.ModuleList(HandWrittenNorm(width, offset) for _ in range(4))
        self.attentions = nn.ModuleList(Attention(width, 4, 2, 8) for _ in range(2))
        self.ups, self.gates = (nn.ModuleList(nn.Linear(width, 48) for _ in range(2)) for _ in range(2))
        self.downs = nn.ModuleList(nn.Linear(48, width) for _ in range(2))
        self.head = nn.Linear(width, 40, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        # The width is a constant of the model here: it must not follow.
        x = self.embedding(ids) * self.model_dim**0.5
        for place in range(2):
            x = x + self.attentions[place](self.norms[2 * place](x))
            y = self.norms[2 * place + 1](x)
            x = x + self.downs[place](F.silu(self.gates[place](y)) * self.ups[place](y))
        return self.head(x)


class Convolutional(nn.Module):
    """Batch norm, group norm, grouped and depthwise convolutions, a transposed one, layer norm."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.mix, self.groups = nn.Conv2d(32, 32, 1), nn.GroupNorm(4, 32)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(32, 24, 2, stride=2)
        self.layer_norm, self.head = nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, image):
        x = torch.relu(self.norm(self.stem(image)))
        x = self.groups(self.mix(self.depthwise(x)))
        x = self.up(self.grouped(torch.relu(x)))
        return self.head(self.layer_norm(x.mean((2, 3))))


class Literal(nn.Module):
    """A width that only the source says."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 4)
        self.inner = nn.ModuleDict({"view": View()})

    def forward(self, x):
        return self.second(self.inner["view"](self.first(x)))


class View(nn.Module):
    def forward(self, x):
        return x.view(-1, 4, 4).relu().reshape(-1, 16)


def doubled(model, seed=0):
    torch.manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.dim() > 1 else 1))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2)
    return model


IDS = torch.arange(30).view(3, 10)
IMAGE = torch.randn(3, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def masked(model, result):
    """The model with what was removed set to zero, and each tied tensor once."""
    made = copy.deepcopy(model)
    tensors = {**dict(made.named_parameters()), **dict(made.named_buffers())}
    with torch.no_grad():
        for stage in result.stages:
            for name, dims in stage.details["removed"].items():
                for dim, positions in dims.items():
                    if name in tensors:
                        tensors[name].index_fill_(dim, torch.tensor(positions), 0)
    return made


def state_of(model):
    """Everything that a refusal must leave alone, with copies of what may be changed in place."""
    modules = {}
    for path, module in model.named_modules():
        modules[path] = {
            name: (id(value), list(value.items()) if isinstance(value, dict) else value)
            for name, value in module.__dict__.items()
        }
    tensors = {
        name: (id(held), held.data_ptr(), held.detach().clone(), None if held.grad is None else held.grad.clone())
        for name, held in [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    }
    return modules, tensors


def check_untouched(model, before):
    modules, tensors = before
    now_modules, now_tensors = state_of(model)
    assert now_modules == modules
    assert now_tensors.keys() == tensors.keys()
    for name, (identity, place, content, grad) in tensors.items():
        now = now_tensors[name]
        assert now[:2] == (identity, place), name
        assert torch.equal(now[2], content), name
        assert (now[3] is None) == (grad is None), name
        assert grad is None or torch.equal(now[3], grad), name


CASES = {
    "decoder": (Decoder, (IDS,), "prune{ratio=0.5 round_to=1 exact=true}"),
    "norms that add one": (lambda: Decoder(offset=1.0), (IDS,), "prune{ratio=0.5 round_to=1}"),
    "another width": (lambda: Decoder(48), (IDS,), "prune{ratio=0.3 round_to=1 exact=true}"),
    "heads alone": (Decoder, (IDS,), "prune{ratio=0.5 targets=attentions.*.key round_to=1 exact=true}"),
    "query heads of each group": (
        Decoder,
        (IDS,),
        "prune{ratio=0.5 targets=attentions.*.query factor=1 round_to=1 exact=true}",
    ),
    "feed-forward alone": (Decoder, (IDS,), "prune{ratio=0.5 targets=ups.* exact=true}"),
    "convolutional": (Convolutional, (IMAGE,), "prune{ratio=0.5 round_to=1 exact=true}"),
    "two steps": (Decoder, (IDS,), "prune{ratio=0.25 round_to=1}, prune{ratio=0.25 round_to=1}"),
    "masked": (Convolutional, (IMAGE,), "mask{sparsity=0.5}, prune{ratio=0.5 exact=true round_to=1}"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_module_is_what_the_graph_is(case):
    build, inputs, pipeline = CASES[case]
    model = doubled(build())
    result = fxc.compress(model, inputs, pipeline)
    before = copy.deepcopy(model)
    size = sum(parameter.numel() for parameter in model.parameters())
    identities = [id(parameter) for parameter in model.parameters()]
    written = fxc.write_back(model, result)
    with torch.no_grad():
        got, graph = model(*inputs), result.module(*inputs)
        assert float((got - graph).abs().max()) <= 1e-9 * float(graph.abs().max())
        if "exact=true" in pipeline and "mask{" not in pipeline:
            want = masked(before, result)(*inputs)
            assert float((got - want).abs().max()) <= 1e-10 * float(want.abs().max())
    assert sum(parameter.numel() for parameter in model.parameters()) < size
    assert [id(parameter) for parameter in model.parameters()] == identities
    state = model.state_dict()
    assert set(written.tensors) >= {name for name in state if name in result.plan}
    for name, dims in result.plan.items():
        if name in state:
            assert all(state[name].shape[dim] == len(kept) for dim, kept in dims.items())


def test_attributes_follow():
    model = doubled(Decoder())
    result = fxc.compress(model, (IDS,), "prune{ratio=0.5 round_to=1}")
    written = fxc.write_back(model, result)
    attention = model.attentions[0]
    assert (attention.num_heads, attention.num_key_value_heads, attention.num_key_value_groups) == (2, 1, 2)
    assert (attention.head_dim, attention.all_head_size) == (8, 16)
    assert (attention.query.in_features, attention.query.out_features) == (16, 16)
    assert (model.ups[0].in_features, model.ups[0].out_features) == (16, 24)
    assert (model.embedding.num_embeddings, model.embedding.embedding_dim) == (40, 16)
    assert model.model_dim == 32, "it is a constant of the model"
    assert model.head.weight is model.embedding.weight
    assert written.attributes["attentions.0"]["num_heads"] == (4, 2)
    assert "norms.0" in written.rescaled


def test_attributes_of_convolutions_follow():
    model = doubled(Convolutional())
    fxc.write_back(model, fxc.compress(model, (IMAGE,), "prune{ratio=0.5 round_to=1}"))
    for layer in (model.stem, model.depthwise, model.mix, model.grouped):
        assert layer.out_channels == layer.weight.shape[0]
        assert layer.in_channels == layer.weight.shape[1] * layer.groups
    assert model.depthwise.groups == model.depthwise.out_channels == 16
    assert (model.up.in_channels, model.up.out_channels) == tuple(model.up.weight.shape[:2])
    assert model.norm.num_features == 16
    assert model.groups.num_channels == model.groups.weight.shape[0]
    assert model.layer_norm.normalized_shape == (model.up.out_channels,)
    assert model(torch.randn(1, 3, 12, 12, dtype=torch.float64)).shape == (1, 5)


def test_what_was_trained_since_goes_back_and_training_goes_on():
    model = doubled(Convolutional())
    result = fxc.compress(model, (IMAGE,), "prune{ratio=0.5 round_to=1}")
    module = result.module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    module(IMAGE).square().mean().backward()
    optimizer.step()
    model.train()
    fxc.write_back(model, result)
    assert module.training
    assert model.training
    assert model.norm.training
    model.eval()
    module.eval()
    assert torch.allclose(model(IMAGE), module(IMAGE), rtol=1e-9, atol=1e-12)
    assert torch.equal(model.norm.running_mean, module.norm.running_mean)
    before = model.head.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()(IMAGE).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.head.weight, before)
    assert not torch.equal(model.head.weight, module.head.weight), "it has memory of its own"


def test_a_gradient_of_the_old_size_is_dropped_and_hooks_stay():
    model = doubled(Decoder())
    model(IDS).sum().backward()
    seen = []
    model.ups[0].register_forward_hook(lambda *_: seen.append(1))
    result = fxc.compress(model, (IDS,), "prune{ratio=0.5 targets=ups.*}")
    fxc.write_back(model, result)
    assert model.ups[0].weight.grad is None
    assert model.embedding.weight.grad is not None
    assert [len(layer._forward_hooks) for layer in model.ups] == [1, 0]
    seen.clear()
    model(IDS)
    assert seen == [1]


def refused(build, inputs, pipeline, match):
    model = doubled(build())
    sum(one.sum() for one in pytree.tree_leaves(model(*inputs))).backward()
    model.register_forward_hook(lambda *_: None)
    result = fxc.compress(model, inputs, pipeline)
    model.train()
    before = state_of(model)
    with pytest.raises(WriteBackError, match=match) as caught:
        fxc.write_back(model, result)
    assert caught.value.hint
    check_untouched(model, before)


def test_a_size_in_the_source_is_refused_by_the_name_of_the_module():
    x = torch.randn(3, 6, dtype=torch.float64)
    refused(Literal, (x,), "prune{ratio=0.5 round_to=1}", r"inner\.view \(View\) raises RuntimeError")


class Returning(nn.Module):
    """Returns what it also goes on with: in the graph with zeros in the place of what is gone."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        return {"hidden": hidden, "result": self.second(hidden)}


class Averaging(nn.Module):
    """A mean over what is pruned, outside of any norm."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 4)
        self.mean = Mean()

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        return self.second(hidden) * self.mean(hidden)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(-1, keepdim=True)


def test_a_mean_that_a_module_cannot_correct_is_refused_by_its_name():
    x = torch.randn(3, 6, dtype=torch.float64)
    refused(
        Averaging, (x,), "prune{ratio=0.5 round_to=1}", r"differs .*first module whose output differs is mean \(Mean\)"
    )


def test_what_is_returned_in_its_old_size_is_refused_with_the_reason():
    x = torch.randn(3, 6, dtype=torch.float64)
    refused(
        Returning, (x,), "prune{ratio=0.5 round_to=1}", r"result\['hidden'\] is f64\[3, 8\].*f64\[3, 16\].*zeros for"
    )


def test_folded_tensors_are_refused_by_name():
    refused(Convolutional, (IMAGE,), "fold-bn, prune{ratio=0.5}", r"no norm\.weight")


def test_tensors_of_another_type_are_refused():
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16)).eval()
    result = fxc.compress(model, (torch.randn(2, 16),), "prune{ratio=0.5}, quantize{scheme=w8a16}")
    before = state_of(model)
    with pytest.raises(WriteBackError, match=r"weight"):
        fxc.write_back(model, result)
    check_untouched(model, before)


def test_another_model_and_a_second_time_are_refused():
    model = doubled(Decoder())
    result = fxc.compress(model, (IDS,), "prune{ratio=0.5}")
    other = doubled(Decoder(48))
    before = state_of(other)
    with pytest.raises(WriteBackError, match=r"when the model was captured"):
        fxc.write_back(other, result)
    check_untouched(other, before)
    fxc.write_back(model, result)
    before = state_of(model)
    with pytest.raises(WriteBackError, match=r"written back once"):
        fxc.write_back(model, result)
    check_untouched(model, before)
    with pytest.raises(WriteBackError, match="the model has no"):
        fxc.write_back(nn.Linear(3, 3), result)
    with pytest.raises(UsageError, match="is no module"):
        fxc.write_back("model", result)


def test_a_model_that_fails_in_the_middle_of_the_run_is_as_it_was(monkeypatch):
    model = doubled(Decoder())
    result = fxc.compress(model, (IDS,), "prune{ratio=0.5}")

    def stop(*_):
        raise KeyboardInterrupt

    handle = model.downs[0].register_forward_hook(stop)
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt):
        fxc.write_back(model, result)
    check_untouched(model, before)
    handle.remove()
    fxc.write_back(model, result)


class Remembering(nn.Module):
    """Writes into a buffer, a list and an attribute whenever it is called."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 4)
        self.register_buffer("shift", torch.zeros(1, dtype=torch.float64))
        self.calls = []
        self.last = 0

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.calls.append(len(self.calls))
            self.last = len(self.calls)
        return self.second(torch.tanh(self.first(x))) + self.shift


def test_runs_leave_no_trace():
    model = doubled(Remembering())
    x = torch.randn(3, 6, dtype=torch.float64)
    result = fxc.compress(model, (x,), "prune{ratio=0.5 round_to=1}")
    calls, last = list(model.calls), model.last
    fxc.write_back(model, result)
    assert (model.calls, model.last) == (calls, last)


def test_the_error_is_one_of_ours():
    assert issubclass(WriteBackError, UsageError)
    assert issubclass(WriteBackError, FxcompressError)


@pytest.fixture
def llama():
    """A tiny language model with grouped queries; where torchvision is there, transformers imports it."""
    transformers = pytest.importorskip("transformers")
    if importlib.util.find_spec("torchvision"):
        runpy.run_path(str(OPERATORS))["import_torchvision"]()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        use_cache=False,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("pipeline", ["prune{ratio=0.5}", "prune{ratio=0.5 targets=*.mlp.gate_proj exact=true}"])
def test_a_language_model_generates_what_its_pruned_graphs_give(llama, pipeline):
    """Graphs of every length are captured of the model as it was, and pruned by the plan; they know no cache."""
    original = copy.deepcopy(llama)
    ids = torch.randint(3, 60, (2, 8))
    result = fxc.compress(llama, {"input_ids": ids}, pipeline)
    fxc.write_back(llama, result)
    want = ids
    with torch.no_grad():
        for _ in range(2):
            graph = fxc.apply_plan(fxc.capture(original, {"input_ids": want}), result.plan)
            logits = graph(input_ids=want).logits
            assert torch.allclose(llama(input_ids=want).logits, logits, atol=1e-5)
            want = torch.cat([want, logits[:, -1:].argmax(-1)], 1)
    made = llama.generate(input_ids=ids, max_new_tokens=2, min_new_tokens=2, do_sample=False, use_cache=True)
    assert torch.equal(made, want)
