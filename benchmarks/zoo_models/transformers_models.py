"""Tiny configurations of model types of transformers, with random weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo_models.entry import Entry, InputsOf

WORDS, WIDTH, LAYERS, HEADS, INNER = 256, 64, 2, 4, 128

SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
}
TEXT = {**SIZES, "vocab_size": WORDS, "max_position_embeddings": 64}
DECODER = {**TEXT, "use_cache": False}
GROUPED = {**DECODER, "num_key_value_heads": 2, "head_dim": 16}
IMAGE = {**SIZES, "image_size": 32, "patch_size": 8}
CODER = {
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": INNER,
    "decoder_ffn_dim": INNER,
}
MARKS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
BART = {
    **CODER,
    **MARKS,
    "vocab_size": WORDS,
    "max_position_embeddings": 64,
    "use_cache": False,
    "forced_eos_token_id": None,
}


def entries() -> Iterator[Entry]:
    """Yield the models of transformers."""
    for name, prefix, task, options, inputs in (*_texts(), *_pairs(), *_signals(), *_images()):
        yield Entry(f"transformers/{name}", "transformers", partial(_build, prefix, task, options), inputs)


def _build(prefix: str, task: str, options: dict[str, Any]) -> nn.Module:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    config = getattr(transformers, f"{prefix}Config")(**copy.deepcopy(options))
    kind = task if task.startswith(prefix) or task == "Gemma3ForCausalLM" else f"{prefix}{task}"
    model: nn.Module = getattr(transformers, kind)(config)
    return model


Row = tuple[str, str, str, dict[str, Any], InputsOf]


def _texts() -> list[Row]:
    classify, generate = "ForSequenceClassification", "ForCausalLM"
    distilled = {"vocab_size": WORDS, "dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER}
    gpt2 = {"vocab_size": WORDS, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 64}
    opt = {**DECODER, "ffn_dim": INNER, "word_embed_proj_dim": WIDTH}
    del opt["intermediate_size"]
    mamba = {
        "vocab_size": WORDS,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "state_size": 8,
        "use_cache": False,
    }
    gemma3 = {**GROUPED, "query_pre_attn_scalar": 16, "sliding_window": 8}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return [
        ("bert", "Bert", classify, TEXT, _masked_words),
        ("distilbert", "DistilBert", classify, {**distilled, "max_position_embeddings": 64}, _masked_words),
        ("roberta", "Roberta", classify, TEXT, _masked_words),
        ("electra", "Electra", classify, {**TEXT, "embedding_size": 32}, _masked_words),
        ("gpt2", "GPT2", "LMHeadModel", {**gpt2, "use_cache": False}, _masked_words),
        ("gpt_neox", "GPTNeoX", generate, DECODER, _masked_words),
        ("opt", "OPT", generate, opt, _masked_words),
        ("llama_gqa", "Llama", generate, GROUPED, _masked_words),
        ("mistral", "Mistral", generate, GROUPED, _masked_words),
        ("mixtral", "Mixtral", generate, {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}, _masked_words),
        ("qwen2", "Qwen2", generate, {**DECODER, "num_key_value_heads": 2}, _masked_words),
        ("qwen3", "Qwen3", generate, GROUPED, _masked_words),
        ("gemma", "Gemma", generate, {**GROUPED, "num_key_value_heads": 1}, _masked_words),
        ("gemma3_text", "Gemma3Text", "Gemma3ForCausalLM", gemma3, _masked_words),
        ("phi", "Phi", generate, DECODER, _masked_words),
        ("phi3", "Phi3", generate, {**DECODER, **ends, "num_key_value_heads": 2}, _masked_words),
        ("mamba", "Mamba", generate, mamba, _words),
        ("deepseek_v3", "DeepseekV3", generate, {**DECODER, **_deepseek()}, _masked_words),
    ]  # fmt: skip


def _deepseek() -> dict[str, Any]:
    heads = {"num_key_value_heads": 4, "qk_rope_head_dim": 8, "v_head_dim": 16, "qk_nope_head_dim": 16}
    experts = {"moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 2, "first_k_dense_replace": 1}
    return {**heads, **experts, "kv_lora_rank": 16, "q_lora_rank": 32, "n_group": 2, "topk_group": 1}


def _pairs() -> list[Row]:
    generate = "ForConditionalGeneration"
    t5 = {"vocab_size": WORDS, "d_model": WIDTH, "d_kv": 16, "d_ff": INNER, "num_layers": LAYERS, "num_heads": HEADS}
    return [
        ("t5", "T5", generate, {**t5, "use_cache": False, "decoder_start_token_id": 0}, _two_texts),
        ("bart", "Bart", generate, BART, _two_texts),
        ("mbart", "MBart", generate, BART, _two_texts),
    ]


def _signals() -> list[Row]:
    whisper: dict[str, Any] = {**CODER, **MARKS, "vocab_size": WORDS, "num_mel_bins": 16, "use_cache": False}
    whisper |= {"max_source_positions": 32, "max_target_positions": 32}
    whisper |= {"suppress_tokens": None, "begin_suppress_tokens": None}
    filters = {
        "conv_dim": (32, 32, 32),
        "conv_kernel": (10, 3, 3),
        "conv_stride": (5, 2, 2),
        "num_feat_extract_layers": 3,
    }
    places = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return [
        ("whisper", "Whisper", "ForConditionalGeneration", whisper, _sound_and_text),
        ("wav2vec2", "Wav2Vec2", "ForCTC", {**SIZES, **filters, **places, "vocab_size": 32}, _waves),
    ]


def _images() -> list[Row]:
    classify = "ForImageClassification"
    beit = {**IMAGE, "vocab_size": WORDS, "use_relative_position_bias": True}
    swin = {"image_size": 64, "patch_size": 4, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
    dino = {key: value for key, value in IMAGE.items() if key != "intermediate_size"}
    return [
        ("vit", "ViT", classify, IMAGE, _pixels(32)),
        ("beit", "Beit", classify, beit, _pixels(32)),
        ("swin", "Swin", classify, swin, _pixels(64)),
        ("convnext", "ConvNext", classify, {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}, _pixels(64)),
        ("dinov2", "Dinov2", classify, dino, _pixels(32)),
        ("clip", "CLIP", "CLIPModel", _clip(), _text_and_pixels),
        ("detr", "Detr", "ForObjectDetection", _detr(), _pixels(64)),
    ]


def _clip() -> dict[str, Any]:
    ends = {"bos_token_id": 0, "eos_token_id": 255, "pad_token_id": 1}
    text = {**TEXT, **ends, "max_position_embeddings": 32, "projection_dim": WIDTH}
    return {"projection_dim": WIDTH, "text_config": text, "vision_config": {**IMAGE, "projection_dim": WIDTH}}


def _detr() -> dict[str, Any]:
    backbone = {"model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]}
    plain = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
    return {**CODER, **plain, "backbone_config": {**backbone, "out_features": ["stage4"]}, "num_queries": 12}


def _random_words(batch: int, length: int = 16) -> torch.Tensor:
    return torch.randint(3, WORDS - 3, (batch, length))


def _words(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (), {"input_ids": _random_words(batch)}


def _masked_words(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (), {"input_ids": _random_words(batch), "attention_mask": torch.ones(batch, 16, dtype=torch.long)}


def _two_texts(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = _masked_words(batch)
    return args, {**kwargs, "decoder_input_ids": _random_words(batch, 12)}


def _sound_and_text(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (), {"input_features": torch.randn(batch, 16, 64), "decoder_input_ids": _random_words(batch, 12)}


def _waves(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (), {"input_values": torch.randn(batch, 1600)}


def _text_and_pixels(batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (), {"input_ids": _random_words(batch), "pixel_values": torch.randn(batch, 3, 32, 32)}


def _pixels(edge: int) -> InputsOf:
    return lambda batch: ((), {"pixel_values": torch.randn(batch, 3, edge, edge)})
