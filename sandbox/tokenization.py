"""The tokenizer of the micro-model: byte-level BPE with a chat template, and a fast encoder of conversations.

<|user|>How do I clean my copper kettle?<|end|><|assistant|>Wipe the kettle …<|end|>
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from prompts.messages import Message

BOS, END, SYSTEM, USER, ASSISTANT = "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (BOS, END, SYSTEM, USER, ASSISTANT)
VOCABULARY = 2048
WINDOW = 2048

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
    "{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A byte-level BPE of the texts. Words that begin in capitals and numbers need no care: every byte is a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def chat_tokenizer(tokenizer: Tokenizer) -> Any:
    """The form that transformers and vLLM load, with its chat template."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=WINDOW,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


WORD_START = "Ġ"
"""How byte-level BPE writes the blank before a word."""


def is_plain(text: str) -> bool:
    """Whether a text is made of the letters a to z."""
    return text.isascii() and text.isalpha() and text.islower()


class Encoder:
    """Conversations as token ids, as the chat template writes them, without Jinja. A test holds the two together."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.text = functools.lru_cache(maxsize=100_000)(self._encoded)
        self._roles = {role: self.token(f"<|{role}|>") for role in ("system", "user", "assistant")}
        self.size = int(tokenizer.get_vocab_size())
        self._bos, self._end = self.token(BOS), self.token(END)

    @property
    def has_words(self) -> bool:
        """Whether the tokenizer is trained, and not only on its way."""
        return self.size == VOCABULARY

    @functools.cached_property
    def word_tokens(self) -> tuple[list[str], list[str]]:
        """The letters of tokens that begin a word, and of those that go on with one."""
        known = sorted(self.tokenizer.get_vocab())
        first = [token[1:] for token in known if token[0] == WORD_START and is_plain(token[1:])]
        return first, [token for token in known if is_plain(token)]

    def token(self, text: str) -> int:
        """The id of one token."""
        found = self.tokenizer.token_to_id(text)
        assert found is not None, f"{text!r} is no token"
        return int(found)

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def conversation(self, messages: Sequence[Message]) -> tuple[list[int], list[tuple[int, int]]]:
        """All turns, closed, and where the content of each stands, its end token included: [start, stop)."""
        ids = [self._bos]
        spans = []
        for message in messages:
            ids.append(self._roles[message["role"]])
            start = len(ids)
            ids += [*self.text(message["content"]), self._end]
            spans.append((start, len(ids)))
        return ids, spans

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """What a model is sent: a last assistant turn is left open, and one is begun after a user turn."""
        ids, _ = self.conversation(messages)
        return ids[:-1] if messages[-1]["role"] == "assistant" else [*ids, self._roles["assistant"]]
