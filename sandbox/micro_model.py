"""The micro-model: a Llama of about a million parameters, small enough to be shipped and to be trained anywhere."""

from __future__ import annotations

from typing import Any

from sandbox.tokenization import WINDOW

WIDTH, LAYERS, HEAD = 128, 4, 32
"""Heads of 32 are the smallest that vLLM's attention kernels take."""


def micro_config(tokenizer: Any, width: int = WIDTH, layers: int = LAYERS) -> Any:
    """The configuration for a tokenizer."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD,
        num_key_value_heads=width // HEAD,
        head_dim=HEAD,
        max_position_embeddings=WINDOW,
        initializer_range=0.04,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        dtype="float32",
    )
