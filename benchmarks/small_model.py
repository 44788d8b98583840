"""A Llama of a given shape with random weights, and a tokenizer trained on our own texts: something to run, offline.

Its answers mean nothing, but it takes the time that a model of its shape takes. `small` is for two cores: small enough
to wait for, large enough that computing a prompt costs more than handing it over; `tiny` can be trained there from
nothing. `1b` and `8b` are shapes of Llamas for a GPU; the weights of `8b` are not written, and vLLM fills them in
(`load_format: dummy`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import prompts
from constitution import built_in_names, load_constitution

SHAPES = {
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    "small": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
"""Layer sizes by name."""
VOCABULARY = 4096
"""Tokens at most: the texts have merges for about so many, and English comes to four letters a token."""
WINDOW = 8192
BOS, END = "<s>", "<|end|>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def own_texts() -> Iterator[str]:
    """Every built-in principle, the templates and the few-shots."""
    for name in built_in_names():
        for principle in load_constitution(name).principles:
            yield from filter(None, (principle.critique, principle.revision, principle.comparison))
            for test in principle.tests:
                yield from (test.prompt, test.better, test.worse)
    for path in sorted(Path(prompts.__path__[0]).glob("*/*.*")):
        yield path.read_text()


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the texts, with a chat template that writes one BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    roles = ["<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, END, *roles],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=roles,
        model_max_length=WINDOW,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def make_model(folder: Path, shape: str, texts: Iterable[str] | None = None) -> Path:
    """Writes configuration, tokenizer and, but for `8b`, float32 weights from a fixed seed into `folder`."""
    tokenizer = make_tokenizer(own_texts() if texts is None else texts)
    config = LlamaConfig(
        **SHAPES[shape],
        architectures=["LlamaForCausalLM"],
        vocab_size=len(tokenizer),
        max_position_embeddings=WINDOW,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        dtype="bfloat16" if shape == "8b" else "float32",
    )
    if shape != "8b":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder, safe_serialization=True)
    else:
        config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
