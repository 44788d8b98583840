"""The micro-model: a Llama of about a million parameters, small enough to be shipped and to be trained anywhere.

micro_config(tokenizer) ► LlamaConfig          new_model(tokenizer, seed) ► LlamaForCausalLM, ready to be trained
"""

from __future__ import annotations

from typing import Any

import torch

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


def new_model(tokenizer: Any, seed: int, width: int = WIDTH, layers: int = LAYERS) -> Any:
    """A model of random weights with two heads set up for copying."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(micro_config(tokenizer, width, layers)).to(torch.float32)
    set_up_copying(model)
    return model


@torch.no_grad()
def set_up_copying(model: Any, peak: float = 20.0, match: float = 8.0, strength: float = 0.32) -> None:
    """Starts one head of the first layer looking one token back, and one of the second looking for the same token.

    Such a pair copies what it saw before: an induction head (Olsson et al. 2022). Every skill of this world must name
    items never seen in training; found by gradient descent alone, copying took more tokens than all of the training
    (docs/log.md). Everything else starts at random, as do all other heads. In the spirit of mimetic initialisation
    (Trockman and Kolter 2023).

    `peak` and `match` are the sizes of the two attention scores, before the division by √head size. `strength` is how
    much of what they read the heads write.
    """
    size, width = model.config.head_dim, model.config.hidden_size
    half = size // 2
    spread = model.config.initializer_range
    back, look = (layer.self_attn for layer in model.model.layers[:2])
    directions = torch.linalg.qr(torch.randn(width, 2 * size + 1)).Q.T
    constant, content, previous = directions[0], directions[1 : size + 1], directions[size + 1 :]

    # All tokens share one direction, from which the first head makes a query and a key that is turned one step ahead.
    model.model.embed_tokens.weight += spread * width**0.5 * constant
    shared = constant / (width / 2) ** 0.5  # its component is half of the squared length √width that norms leave
    turns = model.config.rope_parameters["rope_theta"] ** (-torch.arange(half) * 2 / size)
    query, key = torch.zeros(size, width), torch.zeros(size, width)
    query[:half] = shared
    key[:half] = torch.cos(turns)[:, None] * shared
    key[half:] = torch.sin(turns)[:, None] * shared
    back.q_proj.weight[:size], back.k_proj.weight[:size] = peak**0.5 * query, peak**0.5 * key
    back.v_proj.weight[:size], back.o_proj.weight[:, :size] = content, strength * previous.T

    # The second head compares the token itself with the one that the first head wrote down, in slow rotary pairs only:
    # what is far apart would be turned away otherwise.
    slow = (torch.arange(size) % half >= half // 2)[:, None]
    look.q_proj.weight[:size], look.k_proj.weight[:size] = match**0.5 * slow * content, match**0.5 * slow * previous
    look.v_proj.weight[:size], look.o_proj.weight[:, :size] = content, strength * content.T
