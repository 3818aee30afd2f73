"""Models of transformers: their result classes come back, a cache has a way out. Only where transformers is there."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest
import torch
from comparing import assert_same

import fxcompress as fxc
from fxcompress.errors import CaptureError

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("default")
OPERATORS = Path(__file__).parents[2] / "benchmarks" / "zoo_models" / "operators.py"


@pytest.fixture(scope="module", autouse=True)
def _torchvision():
    """Where torchvision is there, transformers imports it."""
    return runpy.run_path(str(OPERATORS))["import_torchvision"]() if importlib.util.find_spec("torchvision") else None


def llama(use_cache):
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        use_cache=use_cache,
    )
    return transformers.LlamaForCausalLM(config).eval()


def words(batch):
    return {"input_ids": torch.randint(0, 32, (batch, 6)), "attention_mask": torch.ones(batch, 6, dtype=torch.long)}


def test_a_model_output_comes_back_as_such():
    model = llama(use_cache=False)
    captured = fxc.capture(model, words(2))
    assert captured.dynamic
    given = words(3)
    with torch.no_grad():
        got, want = captured(**given), model(**given)
    assert type(got) is type(want)
    assert_same(got.to_tuple(), want.to_tuple())


def test_a_cache_in_the_output_is_refused_with_a_way_out():
    with pytest.raises(CaptureError, match="DynamicCache") as caught:
        fxc.capture(llama(use_cache=True), words(2))
    assert "use_cache=False" in str(caught.value)


def test_tied_embeddings_stay_tied():
    config = transformers.GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=2, n_positions=16, use_cache=False)
    config.bos_token_id = config.eos_token_id = 0
    model = transformers.GPT2LMHeadModel(config).eval()
    module = fxc.capture(model, words(2)).module
    assert module.get_parameter("lm_head.weight") is module.get_parameter("transformer.wte.weight")
    assert set(module.state_dict()) == set(model.state_dict())
