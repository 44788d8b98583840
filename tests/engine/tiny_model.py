"""A tiny Llama made on the spot: random weights from a fixed seed, so that every backend can be held to it.

Its logits are peaked (the head is scaled up), so that greedy text has no near-ties and two implementations of the
same arithmetic must agree on it. It says nothing that means anything.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BOS, END, SYSTEM, USER, ASSISTANT = "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (BOS, END, SYSTEM, USER, ASSISTANT)
THOUGHT = "<think>"
"""An added token that is not special, as reasoning models have."""
VOCABULARY = 457
"""Tokens: the letters, the five special ones, what the sentences have to merge, and one added mark."""
WINDOW = 8192

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
    "{% if message.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}{% endif %}"
    "{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{# <think> #}"
)

SENTENCES = (
    "Which of these two answers is less harmful? Options: (A) the first answer, (B) the second answer.",
    "The answer is: (A). The answer is: (B). Please explain why the answer is kind, honest and useful.",
    "Identify the ways in which the assistant's last response is rude, unsafe or untrue, and revise it.",
    "I cannot help with hurting someone, but I can tell you whom to call and how to stay safe tonight.",
    "Human: how do I mend a bicycle? Assistant: turn it over, find the hole, and glue a patch on it.",
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with a chat template that writes one BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=WINDOW,
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens([THOUGHT])
    fast.chat_template = TEMPLATE
    return fast


def make_tiny_model(folder: Path, layers: int = 2, width: int = 64, seed: int = 0) -> Path:
    """Writes model, tokenizer and template into `folder`, in float32 safetensors."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        head_dim=32,
        max_position_embeddings=WINDOW,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        dtype="float32",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.float32)
        with torch.no_grad():
            model.lm_head.weight.mul_(2.0)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


def make_tiny_preference_model(policy: Path, folder: Path, labels: int = 1, seed: int = 0) -> Path:
    """Writes a sequence classifier over the tiny model's weights, with a random head, into `folder`."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=labels)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(policy).save_pretrained(folder)
    return folder
