"""Conversations as token ids: one chat template, one BOS, and user text that cannot become control tokens.

    messages ──template──► text ──tokenizer──► ids        a final assistant message is continued, unless it is closed

The strings of control tokens ("</s>", "<|im_end|>") inside a message are encoded as the letters they are made of.
In assistant messages that holds for special tokens only, so that marks like `<think>` keep the meaning they had when
the model wrote them. A lone half of a surrogate pair is no character and becomes U+FFFD.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import secrets
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer

from constitution.faults import BadInput, Fault
from engine.backends.folder import fetch, tokenizer_folder
from engine.backends.spec import ModelSpec
from engine.model import OptionsNotTokens, PromptTooLong, TemplateRefused
from prompts.messages import Message

USUAL_VERDICT: tuple[Message, ...] = (
    Message(role="user", content="Which is better?"),
    Message(role="assistant", content="The answer is: ("),
)
"""Where options are tried when no conversation is given."""
TAIL = 24
"""Characters before an option that decide how it is tokenised: an option read once after them is not read again."""
REMEMBERED = 512
"""How many encoded conversations are kept, since a row is counted, asked and asked again."""
REMEMBERED_TURNS = 4096
"""How many encoded turns are kept: few-shots stand in every prompt, and what is judged in many."""
SURROGATES = re.compile("[\ud800-\udfff]")


class Rendered(NamedTuple):
    """A conversation as the template writes it. `guarded` texts hold stand-ins for control strings of the users."""

    text: str
    guarded: bool


def whole_characters(text: str) -> str:
    """The text with surrogate pairs joined and lone halves replaced, since no tokenizer takes them."""
    if not SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Guard:
    """Encodes text in which some control strings are meant literally.

    A second tokenizer knows every added token under a secret name. In the template's own text, added tokens are
    replaced by these names; in the users' text they are hidden behind stand-ins first, and put back afterwards, where
    nothing recognises them any more.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        salt = secrets.token_hex(6)
        state = json.loads(tokenizer.to_str())
        added = state["added_tokens"]
        self._names = {entry["content"]: f"\ue000{salt}n{index}\ue001" for index, entry in enumerate(added)}
        self._stand_ins = {entry["content"]: f"\ue000{salt}s{index}\ue001" for index, entry in enumerate(added)}
        self._originals = {stand_in: content for content, stand_in in self._stand_ins.items()}
        ids = {entry["content"]: entry["id"] for entry in added}
        for entry in added:
            entry["content"] = self._names[entry["content"]]
        self._tokenizer = Tokenizer.from_str(json.dumps(state))
        self._ids = {self._tokenizer.token_to_id(name): ids[content] for content, name in self._names.items()}
        if not self._ids.keys().isdisjoint(
            set(tokenizer.get_vocab(with_added_tokens=False).values()) - set(ids.values())
        ):
            raise BadInput("this tokenizer's ids have gaps, so that control strings in texts cannot be kept apart")
        self._any_added = any_of(ids)
        self._any_stand_in = re.compile(f"\ue000{salt}s[0-9]+\ue001")

    def hide(self, text: str, controls: re.Pattern[str]) -> str:
        """The text with stand-ins for its control strings."""
        return controls.sub(lambda match: self._stand_ins[match.group()], text)

    def show(self, text: str) -> str:
        """The text with its control strings again."""
        return self._any_stand_in.sub(lambda match: self._originals[match.group()], text)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text made by a template over hidden contents."""
        named = self._any_added.sub(lambda match: self._names[match.group()], text)
        ids: list[int] = self._tokenizer.encode(self.show(named), add_special_tokens=False).ids
        return [self._ids.get(token, token) for token in ids]


def any_of(strings: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of the strings, the longest where several begin at one place."""
    return re.compile("|".join(re.escape(string) for string in sorted(strings, key=len, reverse=True)) or r"(?!)")


def borders(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """Where a text can be cut and each part be encoded alone: before its added tokens, which a tokenizer takes out
    first. None where one of them depends on what stands before it, or is looked for in a changed text."""
    added = tokenizer.get_added_tokens_decoder().values()
    if any(token.lstrip or token.single_word or (token.normalized and tokenizer.normalizer) for token in added):
        return None
    return any_of(token.content for token in added)


class Chat:
    """A tokenizer with its chat template and the model's window. A `PromptCounter`."""

    def __init__(
        self,
        name: str,
        tokenizer: Any,
        context_window: int,
        template: str | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        """`tokenizer` is a transformers tokenizer with a tokenizers backend; `template` replaces its chat template."""
        self.name = name
        self.context_window = context_window
        self.tokenizer = tokenizer
        self.backend: Tokenizer = tokenizer.backend_tokenizer
        self._template = template if template is not None else tokenizer.get_chat_template()
        self._template_options = dict(template_options or {})
        self._bos: int | None = tokenizer.bos_token_id
        marked = self.backend.encode("a", add_special_tokens=True).ids
        self._adds_bos = self._bos is not None and marked[:1] == [self._bos]
        added = self.backend.get_added_tokens_decoder().values()
        special = [token.content for token in added if token.special]
        # Other added tokens are control tokens where the template writes them; blanks and words are just vocabulary.
        marks = [t.content for t in added if not t.special and t.content in self._template and not t.content.isspace()]
        self._controls = {"assistant": any_of(special), "user": any_of([*special, *marks])}
        self._first_letters = {content[0] for content in [*special, *marks] if content}
        self._guard: Guard | None = None
        self._encoded: OrderedDict[str, list[int]] = OrderedDict()
        self._borders = borders(self.backend)
        self._encode_turn = functools.lru_cache(REMEMBERED_TURNS)(self._encode_text)
        self._options: dict[tuple[str, str], int] = {}

    def render(self, messages: Sequence[Message], *, closed: bool = False) -> Rendered:
        """The template's text; `closed` ends a final assistant message as the template ends a turn.

        Raises TemplateRefused where the template does not take such a conversation.
        """
        contents = [whole_characters(message["content"]) for message in messages]
        guarded = False
        for place, message in enumerate(messages):
            controls = self._controls.get(message["role"], self._controls["user"])
            content = contents[place]
            if any(letter in content for letter in self._first_letters) and controls.search(content):
                self._guard = self._guard or Guard(self.backend)
                contents[place] = self._guard.hide(content, controls)
                guarded = True
        turns = [{"role": m["role"], "content": content} for m, content in zip(messages, contents, strict=True)]
        continued = not closed and bool(messages) and messages[-1]["role"] == "assistant"
        try:
            text = self.tokenizer.apply_chat_template(
                turns,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=not (continued or closed),
                continue_final_message=continued,
                **self._template_options,
            )
        except (TemplateError, ValueError, IndexError) as error:
            roles = ", ".join(message["role"] for message in messages) or "no messages"
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise TemplateRefused(
                f"the chat template of {self.name!r} does not take this conversation ({roles}): {reason}"
            ) from None
        return Rendered(str(text), guarded)

    def encode_rendered(self, rendered: Rendered) -> list[int]:
        """Token ids with one BOS where the tokenizer has one."""
        known = self._encoded.get(rendered.text)
        if known is not None:
            self._encoded.move_to_end(rendered.text)
            return known
        if rendered.guarded:
            assert self._guard is not None
            ids = self._guard.encode(rendered.text)
        else:
            ids = [token for turn in self._turns(rendered.text) for token in self._encode_turn(turn)]
        if self._bos is not None:
            while ids[:2] == [self._bos, self._bos]:
                ids = ids[1:]
            if self._adds_bos and ids[:1] != [self._bos]:
                ids = [self._bos, *ids]
        self._encoded[rendered.text] = ids
        if len(self._encoded) > REMEMBERED:
            self._encoded.popitem(last=False)
        return ids

    def _turns(self, text: str) -> Iterator[str]:
        """The text, cut before every added token where that leaves each part's ids as they are."""
        starts = [match.start() for match in self._borders.finditer(text)] if self._borders else []
        return (text[start:end] for start, end in itertools.pairwise([0, *starts, len(text)]) if start < end)

    def _encode_text(self, text: str) -> array[int]:
        return array("I", self.backend.encode(text, add_special_tokens=False).ids)

    def encode(self, messages: Sequence[Message], *, closed: bool = False) -> list[int]:
        """The conversation as token ids, ready for the model."""
        return self.encode_rendered(self.render(messages, closed=closed))

    def prompt(self, messages: Sequence[Message], max_tokens: int) -> list[int]:
        """As `encode`. Raises PromptTooLong where the window has no room for `max_tokens` more."""
        ids = self.encode(messages)
        self.check_room(len(ids), max_tokens)
        return ids

    def question(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[list[int], list[int]]:
        """The prompt's ids and the options' ids after it. Raises PromptTooLong, OptionsNotTokens."""
        rendered = self.render(messages)
        ids = self.encode_rendered(rendered)
        self.check_room(len(ids), 1)
        return ids, self._option_ids(rendered, options)

    def check_room(self, prompt_tokens: int, max_tokens: int) -> None:
        """Raises PromptTooLong where prompt and answer together exceed the window."""
        if prompt_tokens + max_tokens > self.context_window:
            raise PromptTooLong(
                f"{prompt_tokens} prompt tokens and {max_tokens} asked for are more than the {self.context_window} "
                f"tokens of {self.name!r}"
            )

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the conversation as the model is sent it."""
        return len(self.encode(messages))

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """Raises OptionsNotTokens where an option is not one token after the messages, or two are the same."""
        self._option_ids(self.render(messages or USUAL_VERDICT), options)

    def _option_ids(self, rendered: Rendered, options: Sequence[str]) -> list[int]:
        ids = [self._option_id(rendered, option) for option in options]
        for place, token in enumerate(ids):
            if token in ids[:place]:
                first, second = options[ids.index(token)], options[place]
                raise OptionsNotTokens(f"options {first!r} and {second!r} are the same token ({token}): change one")
        return ids

    def _option_id(self, rendered: Rendered, option: str) -> int:
        key = (rendered.text[-TAIL:], option)
        known = self._options.get(key)
        if known is not None:
            return known
        before = self.encode_rendered(rendered)
        after = self.encode_rendered(Rendered(rendered.text + option, rendered.guarded))
        if len(after) != len(before) + 1 or after[:-1] != before:
            kept = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(before))
            found = [self.backend.id_to_token(token) for token in after[kept:]]
            joined = "" if kept == len(before) else ", since it runs together with the text before it"
            raise OptionsNotTokens(
                f"option {option!r} is not one token after {rendered.text[-TAIL:]!r}: the tokenizer of {self.name!r} "
                f"makes {found} of it{joined}. Use options of one token, such as 'A' and 'B', and end the text before "
                f"them with '(' or a line end"
            )
        self._options[key] = after[-1]
        return after[-1]


def open_chat(spec: ModelSpec) -> Chat:
    """The chat of a vllm or transformers entry, or of an openai entry that names a tokenizer. Raises BadInput."""
    from transformers import AutoTokenizer

    folder = tokenizer_folder(spec)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    except Exception as error:  # transformers raises many kinds
        raise BadInput(Fault(f"the tokenizer cannot be read: {error}", file=str(folder), where="model")) from None
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        hint = "convert it to a tokenizer.json, or name another with `tokenizer`"
        raise BadInput(Fault("the tokenizer is not of the fast kind", file=str(folder), where="model", hint=hint))
    template = None if spec.chat_template is None else Path(spec.chat_template).expanduser().read_text(encoding="utf-8")
    window = spec.context_window or configured_window(spec)
    try:
        return Chat(spec.model, tokenizer, window, template, spec.template_options)
    except ValueError as error:
        raise BadInput(Fault(f"no chat template: {error}", file=str(folder), where="model")) from None


def configured_window(spec: ModelSpec) -> int:
    """The window that the model's configuration names, in tokens. Raises BadInput where it names none."""
    hint = "say `context_window`"
    if spec.backend == "openai":
        raise BadInput(Fault("the server's window is not known here", where="model.context_window", hint=hint))
    folder = fetch(spec.model, spec.revision, weights=False)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config") or config
    for key in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
        if isinstance(config.get(key), int):
            return int(config[key])
    raise BadInput(Fault("config.json names no window", file=str(folder), where="model.context_window", hint=hint))
