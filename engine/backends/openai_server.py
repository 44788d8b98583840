"""The openai backend: any server that speaks OpenAI's chat completions, vLLM's above all.

    generate   one chat completion
    choose     one token with its log-probabilities, never parsed from text:
               - the server tells token ids (vLLM, `prefill: vllm`): exactly the options' log-probabilities are asked
                 for, by id, with `logprob_token_ids`; what an older version leaves out is asked one by one with
                 `allowed_token_ids`
               - otherwise the 20 likeliest tokens are read. An option that is not among them is less likely than all
                 of them; it counts as impossible where that bound is negligible, and the answer is refused where not.

The chat template is the server's business. Where the entry names the tokenizer of a vLLM server, a conversation with
control strings in its texts is sent as token ids, so that they stay text; elsewhere that is the server's business, too.
With `prefill: none` a final assistant message cannot be continued: `generate` refuses it, and `choose` replaces it by a
request to answer with an option alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import httpx

from constitution.faults import BadInput
from engine.backends.chat import TAIL, USUAL_VERDICT, Chat, open_chat, whole_characters
from engine.backends.http_server import Server, headers
from engine.backends.spec import ModelSpec
from engine.model import (
    Choice,
    Completion,
    ModelError,
    ModelUnavailable,
    OptionsNotTokens,
    PromptCounter,
    Sampling,
    TemplateRefused,
)
from prompts.messages import Message
from prompts.reading import BadAnswer, LowMass

TOP = 20
"""How many tokens servers list at most."""
NEGLIGIBLE = 1e-3
"""An unlisted option counts as impossible where it can hold no more than this share of the options' probability."""
UNKNOWN_WINDOW = 1 << 31
"""The window where neither the entry nor the server names one: the server itself refuses what is too long."""
LETTERS_A_TOKEN, TOKENS_A_TURN = 4, 4
"""The estimate of token counts where nobody counts them: English text and a template's marks."""


def chat_body(spec: ModelSpec, messages: Sequence[Message]) -> dict[str, Any]:
    """The part of a request that says what is asked: model, messages, and whether the last one is continued."""
    turns = [{"role": m["role"], "content": whole_characters(m["content"])} for m in messages]
    body: dict[str, Any] = {"model": spec.model, "messages": turns}
    if messages and messages[-1]["role"] == "assistant":
        if spec.prefill == "none":
            raise TemplateRefused(f"{spec.model!r} cannot continue an assistant message (`prefill: none`)")
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    if spec.template_options:
        body["chat_template_kwargs"] = spec.template_options
    return body


def lengthened(messages: Sequence[Message], option: str) -> list[Message]:
    """The conversation with the option said: at the end of the final assistant message, or as one."""
    last = messages[-1]
    if last["role"] != "assistant":
        return [*messages, Message(role="assistant", content=option)]
    return [*messages[:-1], Message(role="assistant", content=last["content"] + option)]


def without_prefill(messages: Sequence[Message], options: Sequence[str]) -> list[Message]:
    """The question for a server that cannot continue its own message."""
    if not messages or messages[-1]["role"] != "assistant":
        return list(messages)
    *before, last = messages[:-1]
    wanted = f"{last['content']}\n\nAnswer with {' or '.join(options)} alone, and nothing before or after it."
    return [*before, Message(role=last["role"], content=wanted)]


class Counter:
    """Counts tokens where no tokenizer is at hand: the server's own `/tokenize` (vLLM has it), or an estimate."""

    def __init__(self, spec: ModelSpec) -> None:
        self.name = spec.model
        self.context_window = spec.context_window or UNKNOWN_WINDOW
        self._spec = spec
        self._client = httpx.Client(headers=headers(spec), timeout=min(30.0, spec.timeout))
        self._served = spec.prefill == "vllm"

    def tokens(self, messages: Sequence[Message]) -> list[int] | None:
        """The conversation's token ids, or None where the server does not tell. Blocks for one request."""
        if not self._served:
            return None
        try:
            response = self._client.post(tokenize_url(self._spec), json=chat_body(self._spec, messages))
            if response.status_code in {404, 405, 501}:
                self._served = False
            tokens = response.json().get("tokens") if response.status_code == 200 else None
        except (httpx.HTTPError, ValueError, AttributeError):
            return None
        return tokens if isinstance(tokens, list) else None

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The server's count; without it, a token for four letters and four for each message."""
        tokens = self.tokens(messages)
        if tokens is not None:
            return len(tokens)
        return sum(TOKENS_A_TURN + -(-len(message["content"]) // LETTERS_A_TOKEN) for message in messages)

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """Raises OptionsNotTokens; without the server's tokens only for options of several words."""
        asked = list(messages or USUAL_VERDICT)
        before = self.tokens(asked)
        if before is None or asked[-1]["role"] != "assistant":
            check_words(options)
            return
        after = [self.tokens(lengthened(asked, option)) for option in options]
        read_option_ids(self.name, before, options, after)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()


def tokenize_url(spec: ModelSpec) -> str:
    """vLLM serves it beside `/v1`, not below it."""
    assert spec.base_url is not None
    return spec.base_url.rstrip("/").removesuffix("/v1") + "/tokenize"


def check_words(options: Sequence[str]) -> None:
    """What can be said of options without a tokenizer. Raises OptionsNotTokens."""
    for option in options:
        if len(option.split()) != 1:
            raise OptionsNotTokens(f"option {option!r} is not one word, so it is not one token")
    if len({option.strip() for option in options}) < len(options):
        raise OptionsNotTokens(f"options {list(options)!r} are not distinct")


def read_option_ids(
    name: str, before: list[int], options: Sequence[str], after: Sequence[list[int] | None]
) -> list[int]:
    """The ids that the options add to a prompt, from the prompt's tokens without and with each of them."""
    ids: list[int] = []
    for option, tokens in zip(options, after, strict=True):
        if tokens is None or len(tokens) != len(before) + 1 or tokens[:-1] != before:
            added = "?" if tokens is None else len(tokens) - len(before)
            raise OptionsNotTokens(
                f"option {option!r} is not one token for {name!r}: it adds {added} tokens to the prompt, or changes "
                f"those before it. Use options such as 'A' and 'B' after '(' or a line end"
            )
        if tokens[-1] in ids:
            raise OptionsNotTokens(f"options {list(options)!r} are not distinct tokens for {name!r}")
        ids.append(tokens[-1])
    return ids


class OpenaiModel:
    """A `Model` behind an HTTP server."""

    def __init__(self, spec: ModelSpec, server: Server, counter: Chat | Counter, revision: str) -> None:
        self.name = spec.model
        self.revision = revision
        self.context_window = counter.context_window
        self._spec = spec
        self._server = server
        self._counter = counter
        self._places = asyncio.Semaphore(spec.max_concurrency)
        self._options: dict[tuple[str, str], int] = {}
        self._tells_tokens = spec.prefill == "vllm"

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One chat completion."""
        path, body = self._request(messages, sampling.max_tokens)
        body |= {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        answer, said = await self._ask(path, body)
        reason = said.get("finish_reason")
        if reason not in {"stop", "length"}:
            raise BadAnswer(f"the server ended the answer of {self.name!r} with {reason!r}")
        text = said.get("text") if path == "/completions" else (said.get("message") or {}).get("content")
        prompt_tokens, completion_tokens, cached = usage(answer)
        return Completion(str(text or ""), reason, prompt_tokens, completion_tokens, cached)

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """The options' log-probabilities: by token id where the server tells them, else from its likeliest tokens."""
        option_ids = await self._option_ids(messages, options)
        if self._spec.prefill == "none":
            messages = without_prefill(messages, options)
        path, body = self._request(messages, 1)
        body |= {"temperature": 0.0, "max_tokens": 1}
        if option_ids is None:
            check_words(options)
            answer, said = await self._ask(path, body | logprobs(path, TOP))
            values = read_listed(listed(said), options, exact=messages[-1]["role"] == "assistant")
        else:
            body |= {"return_tokens_as_token_ids": True}
            answer, values = await self._choose_by_id(path, body, option_ids)
        if not sum(math.exp(value) for value in values) <= 1.001:
            raise ModelError(f"the server of {self.name!r} gives log-probabilities {values} that are not raw, or none")
        prompt_tokens, _, cached = usage(answer)
        return Choice(tuple(values), prompt_tokens, cached)

    async def _choose_by_id(
        self, path: str, body: dict[str, Any], option_ids: list[int]
    ) -> tuple[dict[str, Any], list[float]]:
        """The first answer and the options' log-probabilities; NaN where the server does not give one."""
        answer, said = await self._ask(path, body | logprobs(path, TOP) | {"logprob_token_ids": option_ids})
        known = dict(listed(said))
        for token in option_ids:
            if f"token_id:{token}" not in known:
                _, said = await self._ask(path, body | logprobs(path, 0) | {"allowed_token_ids": [token]})
                known |= dict(listed(said)[:1])
        return answer, [known.get(f"token_id:{token}", math.nan) for token in option_ids]

    def _request(self, messages: Sequence[Message], max_tokens: int) -> tuple[str, dict[str, Any]]:
        """Where the conversation is sent, and how: as a chat, or as token ids where it holds control strings that the
        server's own tokenizer would take for control tokens."""
        if isinstance(self._counter, Chat) and self._spec.prefill == "vllm":
            ids = self._counter.prompt(messages, max_tokens)
            if self._counter.render(messages).guarded:
                return "/completions", {"model": self._spec.model, "prompt": ids}
        return "/chat/completions", chat_body(self._spec, messages)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """By the entry's tokenizer, by the server, or estimated; the second blocks for a request."""
        return self._counter.count_tokens(messages)

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """Raises OptionsNotTokens where it is known that an option is not one token."""
        self._counter.check_options(options, messages)

    async def close(self) -> None:
        """Closes the connections; the server goes on."""
        await self._server.close()
        if isinstance(self._counter, Counter):
            self._counter.close()

    async def _ask(self, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The answer and its one choice."""
        async with self._places:
            answer = await self._server.post(path, body, holding="choices")
        choices = answer["choices"]
        if not choices or not isinstance(choices[0], dict):
            raise BadAnswer(f"the server of {self.name!r} gives no choice")
        return answer, choices[0]

    async def _option_ids(self, messages: Sequence[Message], options: Sequence[str]) -> list[int] | None:
        """The options' token ids, or None where nobody tells. Raises PromptTooLong, OptionsNotTokens."""
        if self._spec.prefill == "none":
            return None
        if isinstance(self._counter, Chat):
            return self._counter.question(messages, options)[1]
        if messages[-1]["role"] != "assistant" or not self._tells_tokens:
            return None
        tail = messages[-1]["content"][-TAIL:]
        if all((tail, option) in self._options for option in options):
            return [self._options[tail, option] for option in options]
        before, *after = await asyncio.gather(
            self._tokens(messages), *(self._tokens(lengthened(messages, option)) for option in options)
        )
        if before is None:
            return None
        ids = read_option_ids(self.name, before, options, after)
        self._options |= {(tail, option): token for option, token in zip(options, ids, strict=True)}
        return ids

    async def _tokens(self, messages: Sequence[Message]) -> list[int] | None:
        try:
            answer = await self._server.post(tokenize_url(self._spec), chat_body(self._spec, messages), "tokens")
        except (BadInput, ModelUnavailable):  # another kind of server, which has no such address
            self._tells_tokens = False
            return None
        return [int(token) for token in answer["tokens"]]


def usage(answer: dict[str, Any]) -> tuple[int, int, int]:
    """Prompt, completion and cached tokens as the server bills them; 0 where it does not say."""
    told = answer.get("usage") or {}
    details = told.get("prompt_tokens_details") or {}
    return told.get("prompt_tokens") or 0, told.get("completion_tokens") or 0, details.get("cached_tokens") or 0


def logprobs(path: str, count: int) -> dict[str, Any]:
    """How the two kinds of request ask for the likeliest tokens."""
    return {"logprobs": count} if path == "/completions" else {"logprobs": True, "top_logprobs": count}


def listed(said: dict[str, Any]) -> list[tuple[str, float]]:
    """The first token's alternatives with their log-probabilities, the said token first. Raises BadAnswer."""
    told = said.get("logprobs") or {}
    try:
        if told.get("content"):
            entries = [told["content"][0], *(told["content"][0].get("top_logprobs") or [])]
            return [(str(entry["token"]), float(entry["logprob"])) for entry in entries]
        alternatives = (told.get("top_logprobs") or [{}])[0] or {}
        pairs = [(told["tokens"][0], told["token_logprobs"][0]), *alternatives.items()]
        return [(str(token), float(value)) for token, value in pairs]
    except (KeyError, IndexError, TypeError, ValueError):
        raise BadAnswer("the server gives no log-probabilities, so it cannot judge") from None


def read_listed(found: list[tuple[str, float]], options: Sequence[str], *, exact: bool) -> list[float]:
    """The options' log-probabilities from the likeliest tokens.

    Where the answer begins freely (not `exact`), " A" and "A" both mean A. An option that is not listed is at most as
    likely as the last listed token and as all that is not listed: it gets minus infinity where that is negligible
    beside the options found. Raises LowMass where no option is listed, BadAnswer where an unlisted one may matter.
    """
    tokens = dict(found)
    masses = []
    for option in options:
        same = [t for t in tokens if (t == option if exact else t.strip() == option.strip())]
        masses.append(sum(math.exp(tokens[token]) for token in same))
    held = sum(masses)
    if not held:
        likeliest = max(tokens, key=lambda token: tokens[token])
        raise LowMass(f"none of {list(options)!r} is among the {len(tokens)} likeliest tokens; {likeliest!r} is first")
    bound = min(max(0.0, 1.0 - sum(map(math.exp, tokens.values()))), math.exp(min(tokens.values())))
    missing = [option for option, mass in zip(options, masses, strict=True) if not mass]
    if missing and bound > NEGLIGIBLE * held:
        raise BadAnswer(
            f"{missing!r} is not among the {len(tokens)} likeliest tokens and may hold up to {bound:.2g}, beside "
            f"{held:.2g} for the others: this server shows too few tokens for a verdict"
        )
    return [math.log(mass) if mass else -math.inf for mass in masses]


def open_counter(spec: ModelSpec) -> PromptCounter:
    """What counts tokens for a server: the entry's tokenizer, or the server itself. Raises BadInput."""
    if spec.tokenizer is None:
        return Counter(spec)
    return open_chat(spec.model_copy(update={"context_window": spec.context_window or UNKNOWN_WINDOW}))


async def open_openai(spec: ModelSpec) -> OpenaiModel:
    """Connects and asks what is served. Raises BadInput where the server refuses the key or does not know the model,
    ModelUnavailable where it does not answer."""
    server = Server(spec)
    try:
        entry = await served(spec, server)
    except BaseException:
        await server.close()
        raise
    window = spec.context_window or entry.get("max_model_len") or UNKNOWN_WINDOW
    spec = spec.model_copy(update={"context_window": window})
    revision = spec.revision or str(entry.get("root") or "unknown")
    counter = open_counter(spec)
    assert isinstance(counter, Chat | Counter)
    return OpenaiModel(spec, server, counter, revision)


async def served(spec: ModelSpec, server: Server) -> dict[str, Any]:
    """The server's entry for the model; empty where it lists none. Raises BadInput where it lists only others."""
    try:
        answer = await server.get("/models", "data")
    except (ModelError, BadInput) as error:
        if isinstance(error, ModelUnavailable) or "status 401" in str(error) or "status 403" in str(error):
            raise
        return {}  # not every server lists its models
    entries = [entry for entry in answer["data"] if isinstance(entry, dict)]
    mine = [entry for entry in entries if entry.get("id") == spec.model]
    if entries and not mine:
        names = ", ".join(sorted(str(entry.get("id")) for entry in entries)[:8])
        raise BadInput(f"{spec.base_url} does not serve {spec.model!r}; it serves {names}")
    return mine[0] if mine else {}
