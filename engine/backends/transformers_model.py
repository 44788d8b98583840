"""The transformers backend: no server and no extra package, for small models and for machines without vLLM.

    coroutines ──jobs──► waiting ──prefill──► rows ──one token a turn──► done ──futures──► coroutines
                                      ▲                    │
                                      └── free places ◄────┘

One thread owns the model. Each turn it answers a group of verdicts (one prefill, what they share computed once),
fills the free places of the decoding batch once there are prompts enough for a prefill, and decodes one token for every
row. A row that is done leaves at once, so that short answers do not wait for long ones. Out of memory halves the batch.

For decoder-only models with full or sliding-window attention; others belong to vLLM.
"""

# ruff: noqa: N803, N806 - tensors are named by their axes
from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers.decoders import DecodeStream

from constitution.faults import BadInput, Fault
from engine.backends.adapter import adapter_folder
from engine.backends.chat import Chat, open_chat
from engine.backends.decoding import Rows
from engine.backends.folder import weights_folder
from engine.backends.key_values import Prefixes, forward, plan, prefill
from engine.backends.sampling import draw
from engine.backends.spec import ModelSpec
from engine.model import Choice, Completion, ModelUnavailable, Sampling
from prompts.messages import Message

GATHER = 0.002
"""Seconds an idle model waits after the first request for others to batch it with."""
PATIENCE = 8
"""Tokens that are decoded at most while a prompt waits for others to be computed with, an eighth of the batch."""
LOOK_AHEAD = 8
"""Batches' worth of waiting verdicts that are looked through for common prefixes."""


@dataclass(eq=False, slots=True)
class Job:
    """One request on its way. `option_ids` is empty for a completion."""

    prompt: list[int]
    sampling: Sampling
    option_ids: list[int]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def deliver(self, result: Completion | Choice | BaseException) -> None:
        """Hands the result to the waiting coroutine; nobody waits any more where its loop is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, result)

    def _settle(self, result: Completion | Choice | BaseException) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


@dataclass(eq=False, slots=True)
class Row:
    """A completion being decoded."""

    job: Job
    cached: int
    chance: random.Random
    stream: DecodeStream
    tokens: list[int] = field(default_factory=list)
    text: str = ""

    @classmethod
    def of(cls, job: Job, cached: int) -> Row:
        """A row before its first token."""
        stream = DecodeStream(ids=job.prompt, skip_special_tokens=True)
        return cls(job, cached, random.Random(job.sampling.seed), stream)  # noqa: S311 - meant to be repeatable

    def take(self, token: int, chat: Chat, ends: frozenset[int]) -> Completion | None:
        """Adds a token; the completion where it is the last one."""
        self.tokens.append(token)
        if token in ends:
            return self._finished("stop")
        piece = self.stream.step(chat.backend, token) or ""
        self.text += piece
        longest = max(map(len, self.job.sampling.stop), default=0)
        start = max(0, len(self.text) - len(piece) - longest)
        places = [place for stop in self.job.sampling.stop if (place := self.text.find(stop, start)) >= 0]
        if piece and places:
            self.text = self.text[: min(places)]
            return self._finished("stop")
        return self._finished("length") if len(self.tokens) >= self.job.sampling.max_tokens else None

    def _finished(self, reason: Any) -> Completion:
        return Completion(self.text, reason, len(self.job.prompt), len(self.tokens), self.cached)


class Worker(threading.Thread):
    """The thread that owns the model."""

    def __init__(self, model: Any, chat: Chat, ends: frozenset[int], batch_size: int) -> None:
        super().__init__(name="transformers-model", daemon=True)
        self.model, self.chat, self.ends, self.batch_size = model, chat, ends, batch_size
        self.device = model.device
        self.waiting: deque[Job] = deque()
        self.questions: deque[Job] = deque()
        self.taken: list[Job] = []
        """Out of a queue and not yet in `rows`."""
        self.rows: list[Row] = []
        self.batch = Rows()
        self.turns = 0
        """Tokens decoded since prompts were last computed."""
        self.prefixes = Prefixes()
        self.stopped = False
        self.arrived = threading.Condition()

    def submit(self, job: Job) -> None:
        """Queues a job. Raises ModelUnavailable where the model is closed."""
        with self.arrived:
            if self.stopped:
                raise ModelUnavailable(f"{self.chat.name!r} is closed")
            (self.questions if job.option_ids else self.waiting).append(job)
            self.arrived.notify()

    def stop(self) -> None:
        """Ends the thread after the current turn; what is unfinished fails."""
        with self.arrived:
            self.stopped = True
            self.arrived.notify()
        self.join()

    def run(self) -> None:
        """Turns until stopped. Nobody is left waiting, whatever ends it."""
        reason = "it was closed before it answered"
        try:
            with torch.inference_mode():
                while self._wait():
                    self._answer()
                    self._admit()
                    self._decode()
        except Exception as error:
            reason = f"its thread ended: {type(error).__name__}: {error}"
        with self.arrived:
            self.stopped = True
            jobs = [*self.taken, *self.waiting, *self.questions, *(row.job for row in self.rows)]
        for job in jobs:
            job.deliver(ModelUnavailable(f"{self.chat.name!r}: {reason}"))
        self.taken, self.rows, self.batch, self.prefixes, self.model = [], [], Rows(), Prefixes(), None

    def _wait(self) -> bool:
        with self.arrived:
            idle = not (self.waiting or self.questions or self.rows)
            while not (self.stopped or self.waiting or self.questions or self.rows):
                self.arrived.wait()
        if idle and not self.stopped:
            time.sleep(GATHER)
        return not self.stopped

    def _answer(self) -> None:
        """The oldest verdicts, those with a long common part together."""
        seen = self._take(self.questions, LOOK_AHEAD * self.batch_size)
        for group in plan([job.prompt for job in seen], self.batch_size):
            self._guarded([seen[index] for index in group], self._choose)

    def _take(self, queue: deque[Job], count: int) -> list[Job]:
        """The oldest jobs of a queue that somebody still waits for."""
        self.taken = []
        with self.arrived:
            while queue and len(self.taken) < count:
                job = queue.popleft()
                if not job.future.cancelled():
                    self.taken.append(job)
        return self.taken

    def _choose(self, jobs: list[Job]) -> None:
        prompts = prefill(self.model, [job.prompt for job in jobs], self.prefixes, self.device)
        scores_B_V = torch.log_softmax(prompts.logits_B_V, dim=-1)
        for row, job in enumerate(jobs):
            values = scores_B_V[row, job.option_ids].tolist()
            job.deliver(Choice(tuple(values), len(job.prompt), prompts.cached[row]))

    def _admit(self) -> None:
        """Fills the free places of the decoding batch, a group of prompts at a time."""
        free = self.batch_size - len(self.rows)
        self.turns += 1
        if self.rows and self.turns < PATIENCE and min(free, len(self.waiting)) < self.batch_size // PATIENCE:
            return
        jobs = self._take(self.waiting, free)
        for group in plan([job.prompt for job in jobs], self.batch_size):
            self._guarded([jobs[index] for index in group], self._start)
            self.turns = 0

    def _start(self, jobs: list[Job]) -> None:
        prompts = prefill(self.model, [job.prompt for job in jobs], self.prefixes, self.device)
        rows = [Row.of(job, count) for job, count in zip(jobs, prompts.cached, strict=True)]
        completions = self._advance(rows, prompts.logits_B_V)
        self.batch.join(prompts)
        self.rows += rows
        self._hand_over(completions)

    def _decode(self) -> None:
        """One token for every row."""
        if not self.rows:
            return
        try:
            logits_B_V = self.batch.step(self.model, [row.tokens[-1] for row in self.rows])
            self._hand_over(self._advance(self.rows, logits_B_V))
        except Exception as error:  # whatever the model raises, the rows must hear of it
            jobs = [row.job for row in self.rows]
            self.rows, self.batch = [], Rows()
            if out_of_memory(error) and len(jobs) > 1:
                self._shrink(len(jobs))
                with self.arrived:
                    self.waiting.extendleft(reversed(jobs))  # a row's seed makes it draw the same text again
            else:
                self._fail(jobs, error)

    def _advance(self, rows: list[Row], logits_B_V: torch.Tensor) -> list[Completion | None]:
        """Draws a token for each row. Returns the completions of those that are done."""
        samplings = [row.job.sampling for row in rows]
        uniforms = [row.chance.random() for row in rows]
        tokens = draw(logits_B_V, [s.temperature for s in samplings], [s.top_p for s in samplings], uniforms)
        return [row.take(token, self.chat, self.ends) for row, token in zip(rows, tokens, strict=True)]

    def _hand_over(self, completions: list[Completion | None]) -> None:
        """Frees the places of the last rows where they are done, or where nobody waits for them any more."""
        first = len(self.rows) - len(completions)
        for place in reversed(range(first, len(self.rows))):  # from the end: the row that moves in has had its turn
            job, completion = self.rows[place].job, completions[place - first]
            if completion is not None:
                job.deliver(completion)
            elif not job.future.cancelled():
                continue
            self.batch.drop(place)
            self.rows[place] = self.rows[-1]
            del self.rows[-1]
        if not self.rows:
            self.batch = Rows()

    def _guarded(self, jobs: list[Job], work: Callable[[list[Job]], None]) -> None:
        """Does the work; halves the jobs where memory runs out."""
        try:
            work(jobs)
        except Exception as error:  # whatever the model raises, the jobs must hear of it
            if not out_of_memory(error) or len(jobs) == 1:
                self._fail(jobs, error)
                return
            self._shrink(len(jobs))
            half = len(jobs) // 2
            self._guarded(jobs[:half], work)
            self._guarded(jobs[half:], work)

    def _shrink(self, tried: int) -> None:
        self.batch_size = max(1, min(self.batch_size, tried // 2))
        self.prefixes = Prefixes()
        release(self.device)

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        reason = "out of memory" if out_of_memory(error) else f"{type(error).__name__}: {error}"
        tokens = max(len(job.prompt) for job in jobs)
        for job in jobs:
            job.deliver(ModelUnavailable(f"{self.chat.name!r} failed on a batch of {len(jobs)} x {tokens}: {reason}"))


def out_of_memory(error: BaseException) -> bool:
    """True where the error says that a GPU's or the machine's memory is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def release(device: torch.device) -> None:
    """Gives cached memory back."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class TransformersModel:
    """A `Model` in this process."""

    def __init__(self, chat: Chat, revision: str, worker: Worker) -> None:
        self.name = chat.name
        self.revision = revision
        self.context_window = chat.context_window
        self._chat = chat
        self._worker = worker
        worker.start()

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One completion, batched with whatever else is asked at the same time."""
        completion: Completion = await self._ask(self._chat.prompt(messages, sampling.max_tokens), sampling, [])
        return completion

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """The options' log-probabilities in one prefill."""
        prompt, option_ids = self._chat.question(messages, options)
        choice: Choice = await self._ask(prompt, Sampling(max_tokens=1), option_ids)
        return choice

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the conversation under the model's chat template."""
        return self._chat.count_tokens(messages)

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """Raises OptionsNotTokens where an option is not one token."""
        self._chat.check_options(options, messages)

    async def close(self) -> None:
        """Ends the thread and frees the weights."""
        await asyncio.to_thread(self._worker.stop)
        release(self._worker.device)

    async def _ask(self, prompt: list[int], sampling: Sampling, option_ids: list[int]) -> Any:
        loop = asyncio.get_running_loop()
        job = Job(prompt, sampling, option_ids, loop, loop.create_future())
        self._worker.submit(job)
        return await job.future


def open_transformers(spec: ModelSpec) -> TransformersModel:
    """Loads tokenizer and weights. Raises BadInput where the folder is no causal language model that runs here."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # we report progress ourselves
    folder, revision = weights_folder(spec)
    chat = open_chat(spec)
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device)
    dtype: Any = torch.float32 if spec.dtype == "auto" and device.type == "cpu" else spec.dtype
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=spec.trust_remote_code
        )
        if (adapter := adapter_folder(spec)) is not None:
            model = merged(model, adapter)
        model.to(device).eval()
        if spec.quantization is not None:
            model = in_int8(model, device)
        _probe(model, device)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        if out_of_memory(error):
            raise ModelUnavailable(f"{spec.model!r} does not fit into the memory of {device}") from None
        message = f"transformers cannot run this model: {type(error).__name__}: {error}"
        raise BadInput(Fault(message, file=str(folder), where="model", hint="try `backend: vllm`")) from None
    ends = {chat.tokenizer.eos_token_id, *_as_list(model.generation_config.eos_token_id)} - {None}
    return TransformersModel(chat, revision, Worker(model, chat, frozenset(ends), spec.batch_size))


def merged(model: Any, adapter: Path) -> Any:
    """The model with a LoRA adapter added to its weights."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


def in_int8(model: Any, device: torch.device) -> Any:
    """The model with the weights of its linear layers in 8 bits, and their inputs as they come. Raises ValueError
    where there is no such arithmetic: PyTorch has it on CPUs alone."""
    if device.type != "cpu":
        raise ValueError(f"int8 needs `device: cpu`; {device} was asked for")
    from torch.ao.quantization import quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch means to move it to torchao; up to 2.13 it is here
        return quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]


def _as_list(value: int | list[int] | None) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _probe(model: Any, device: torch.device) -> None:
    """One token through the model. Raises where its cache is not the keys and values that we cut and join."""
    with torch.inference_mode():
        one = torch.zeros(1, 1, dtype=torch.long, device=device)
        _, key_values = forward(model, one, torch.ones_like(one), [])
    if len(key_values) != model.config.get_text_config().num_hidden_layers or any(k.dim() != 4 for k, _ in key_values):
        raise ValueError("its layers keep another state than keys and values")
