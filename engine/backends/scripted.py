"""A model that follows a script: for tests, dry runs and benchmarks of everything around a model.

    hash        pseudo-text that depends on the conversation and the seed; verdicts that depend on the texts compared
    echo        repeats the last message; verdicts as above
    FILE.yaml   rules, the first that matches answers; `hash` answers where none does

A script file:

    context_window: 8192          # tokens; optional
    latency: 0.0                  # seconds a call takes; optional
    rules:
      - match: "Identify ways"    # a regular expression, searched in the last message
        reply: "It is rude."
      - match: "poisoned"
        fail: 2                   # ModelUnavailable, twice for each conversation; 0 is never, -1 is always
      - match: "Options:"
        choose: [0.7, 0.2]        # probabilities of the options in the order asked
      - match: "tar pit"
        hang: true                # never answers
      - match: "trapdoor"
        crash: true               # ends the process at once, as an engine that dies does

Nothing here is random: the same conversation, sampling and options give the same answer on any machine. A token
is a word. A call costs a few microseconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from constitution.faults import BadInput, Fault
from engine.backends.spec import ModelSpec
from engine.model import Choice, Completion, ModelUnavailable, OptionsNotTokens, PromptTooLong, Sampling
from prompts.messages import Message

Reply = Callable[[Sequence[Message], Sampling], str]
"""The whole text the model would say, before stop strings and `max_tokens` cut it."""
Weigh = Callable[[Sequence[Message], Sequence[str]], Sequence[float]]
"""The options' probabilities in the order asked; together at most 1."""

WORDS = (
    "the a to of and in that is for it on with as at by this from or an be not are can we you they their will may but "
    "people care honest answer kind harm safe advice reason question think help plain fair law risk friend doctor "
    "someone rather explain choose ask know tell write find need could would should better other time work home"
)
LONGEST_TEXT = 64
"""Words in the longest pseudo-text; the lengths are spread evenly from 4."""
STREAM = tuple(random.Random(0).choices(WORDS.split(), k=1 << 16))  # noqa: S311 - not a secret
"""The pseudo-texts are cut from one long text, since drawing each word would cost more than everything else."""
SPREAD, POSITION_BIAS = 3.0, 0.1
"""Log-odds: how far apart the content puts two answers at most, and how much the first place adds."""
LABELLED_BLOCK = re.compile(r"^\(([A-Z])\) (<response>\n.*?\n</response>|.*?$)", re.MULTILINE | re.DOTALL)


def echo(messages: Sequence[Message], sampling: Sampling) -> str:
    """The last message again."""
    return messages[-1]["content"]


def pseudo_text(messages: Sequence[Message], sampling: Sampling) -> str:
    """4 to 64 words that depend on the conversation and, unless greedy, on the seed."""
    digest = hashlib.blake2b(str(sampling.seed if sampling.temperature > 0 else -1).encode(), digest_size=8)
    for message in messages:
        digest.update(message["content"].encode("utf-8", "surrogatepass"))
    number = int.from_bytes(digest.digest(), "little")
    length = 4 + (number >> 32) % (LONGEST_TEXT - 3)
    start = number % (len(STREAM) - length)
    return " ".join(STREAM[start : start + length])


def content_verdict(messages: Sequence[Message], options: Sequence[str]) -> Sequence[float]:
    """Probabilities that depend on what stands behind the labels `(A)`, `(B)`, so that a swap mirrors them nearly.

    Each option's log-odds is a hash of its own block and of the rest of the last user message, plus a small bonus for
    the first place. An option without a block is judged by its own letters.
    """
    asked = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    blocks = {match.group(1): _number(match.group(2)) for match in LABELLED_BLOCK.finditer(asked)}
    rest = _number(LABELLED_BLOCK.sub("", asked))
    scores: list[float] = []
    for place, option in enumerate(options):
        own = blocks.get(option.strip(), _number(option))
        mixed = _number(f"{own} {rest}")
        scores.append(SPREAD * mixed / 2**32 + (POSITION_BIAS if place == 0 else 0.0))
    mass = 0.9 + 0.0999 * (rest % 1000) / 1000
    total = sum(math.exp(score) for score in scores)
    return [mass * math.exp(score) / total for score in scores]


def _number(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


class Rule(BaseModel):
    """What the model does when the last message matches. The first rule that matches and applies to the verb acts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    match: re.Pattern[str]
    """A regular expression, searched in the last message."""
    reply: str | None = None
    """The text of `generate`."""
    choose: tuple[float, ...] | None = None
    """The probabilities of `choose`, in the order the options are asked."""
    fail: int = Field(default=0, ge=-1)
    """How many times each conversation raises ModelUnavailable before it is answered; -1 is always."""
    hang: bool = False
    """Never answer."""
    crash: bool = False
    """End the process at once."""

    @model_validator(mode="after")
    def _probabilities(self) -> Rule:
        if self.choose is not None and (min(self.choose, default=-1) < 0 or sum(self.choose) > 1 + 1e-9):
            raise ValueError("`choose` holds probabilities: none below 0, together at most 1")
        return self


class Script(BaseModel):
    """A script file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context_window: int = Field(default=8192, gt=0)
    latency: float = Field(default=0.0, ge=0)
    rules: tuple[Rule, ...] = ()


@dataclass(slots=True)
class ScriptedModel:
    """A `Model` that calls two functions. In a test, pass them: `ScriptedModel(reply=lambda messages, sampling: …)`."""

    reply: Reply = pseudo_text
    weigh: Weigh = content_verdict
    rules: tuple[Rule, ...] = ()
    name: str = "scripted"
    revision: str = "scripted-1"
    context_window: int = 8192
    latency: float = 0.0
    calls: int = 0
    """How many calls were made, failed ones included."""
    failures: Counter[tuple[int, str]] = field(default_factory=Counter)

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """The script's text, cut at the first stop string and at `max_tokens` words."""
        prompt_tokens = self._room(messages, sampling.max_tokens)
        rule = await self._act(messages, "reply")
        text = self.reply(messages, sampling) if rule is None or rule.reply is None else rule.reply
        return finished(text, sampling, prompt_tokens)

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """The script's verdict. A probability of 0 is a log-probability of minus infinity."""
        prompt_tokens = self._room(messages, 1)
        self.check_options(options, messages)
        rule = await self._act(messages, "choose")
        weights = self.weigh(messages, options) if rule is None or rule.choose is None else rule.choose
        if len(weights) != len(options):
            raise BadInput(f"the script gives {len(weights)} probabilities for {len(options)} options")
        return Choice(tuple(math.log(weight) if weight > 0 else -math.inf for weight in weights), prompt_tokens)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Words, counted by the spaces and line ends between them, and one token for each message."""
        return sum(2 + message["content"].count(" ") + message["content"].count("\n") for message in messages)

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """An option is one word, and no two are the same."""
        for option in options:
            if len(option.split()) != 1:
                raise OptionsNotTokens(f"option {option!r} is not one token: it must be one word")
        if len({option.strip() for option in options}) < len(options):
            raise OptionsNotTokens(f"options {list(options)!r} are not distinct")

    async def close(self) -> None:
        """Nothing is held."""

    def _room(self, messages: Sequence[Message], max_tokens: int) -> int:
        prompt_tokens = self.count_tokens(messages)
        if prompt_tokens + max_tokens > self.context_window:
            raise PromptTooLong(
                f"{prompt_tokens} prompt tokens and {max_tokens} asked for are more than the window of "
                f"{self.context_window} tokens"
            )
        return prompt_tokens

    async def _act(self, messages: Sequence[Message], verb: str) -> Rule | None:
        """Waits, hangs or fails as the script says, and returns the rule that answers."""
        self.calls += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        last = messages[-1]["content"]
        for index, rule in enumerate(self.rules):
            if not rule.match.search(last):
                continue
            if rule.crash:
                os._exit(1)
            if rule.hang:
                await asyncio.Event().wait()
            if rule.fail:
                self._fail(index, rule, messages)
            if getattr(rule, verb) is not None:
                return rule
        return None

    def _fail(self, index: int, rule: Rule, messages: Sequence[Message]) -> None:
        key = (index, hashlib.blake2b(repr(messages).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest())
        if rule.fail < 0 or self.failures[key] < rule.fail:
            self.failures[key] += 1
            raise ModelUnavailable(f"the script fails for {rule.match.pattern!r} (time {self.failures[key]})")


def finished(text: str, sampling: Sampling, prompt_tokens: int) -> Completion:
    """The completion that a model which wants to say `text` gives: cut at the first stop string, then at the limit."""
    cuts = [place for stop in sampling.stop if (place := text.find(stop)) >= 0]
    if cuts:
        text = text[: min(cuts)]
    words = text.split(" ")
    if len(words) > sampling.max_tokens:
        return Completion(" ".join(words[: sampling.max_tokens]), "length", prompt_tokens, sampling.max_tokens)
    return Completion(text, "stop", prompt_tokens, len(words))


SCRIPTS: dict[str, Reply] = {"hash": pseudo_text, "echo": echo}


def open_scripted(spec: ModelSpec) -> ScriptedModel:
    """The scripted model that the entry names. Raises BadInput where the script file is bad."""
    window = spec.context_window
    if spec.model in SCRIPTS:
        return ScriptedModel(reply=SCRIPTS[spec.model], name=spec.model, context_window=window or 8192)
    path = Path(spec.model).expanduser()
    script = read_script(path)
    return ScriptedModel(
        rules=script.rules,
        name=spec.model,
        revision=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        context_window=window or script.context_window,
        latency=script.latency,
    )


def read_script(path: Path) -> Script:
    """Raises BadInput, with every fault, where the file is missing or is no script."""
    if not path.is_file():
        hint = f"write one of {', '.join(sorted(SCRIPTS))}, or the path of a YAML script"
        raise BadInput(Fault(f"no script of the name {str(path)!r}", where="model", hint=hint))
    try:
        return Script.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {})
    except ValidationError as error:
        faults = [
            Fault(entry["msg"], file=str(path), where=".".join(str(part) for part in entry["loc"]))
            for entry in error.errors()
        ]
        raise BadInput(faults) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise BadInput(Fault(f"not a YAML file: {error}", file=str(path))) from None
