"""TRL's GRPO and RLOO trainers, told what our settings say.

Prompts are encoded as everywhere in Charter: control strings in a user's text stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import RepeatSampler

from engine.backends.chat import Chat, open_chat
from engine.backends.vllm_engine import quiet, settle_on_cpu
from prompts.messages import Message
from trainers.fitting import last_checkpoint, training_arguments
from trainers.hosted_scoring import Scoring
from trainers.loading import load_tokenizer, load_weights, lora_config
from trainers.reinforcement import ReinforcementSettings
from trainers.rewarding import Rewarder
from trainers.watch import JUDGED, Watch


class _OrderOfEpoch(Sampler[int]):
    """TRL's order of prompts, drawn for each epoch from the seed and the epoch's number.

    TRL draws one epoch's order after another from one generator, which a resumed training would start anew.
    """

    def __init__(self, sampler: RepeatSampler, epoch: Callable[[], int]) -> None:
        self._sampler = sampler
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self._sampler.generator.manual_seed(self._sampler.seed + self._epoch())
        yield from self._sampler

    def __len__(self) -> int:
        return len(self._sampler)


class _OurPrompts:
    """Encodes prompts with our chat, which keeps control strings in a user's text from becoming control tokens, and
    takes them in an order that a resumed training finds again."""

    chat: Chat
    state: Any

    def _tokenize_prompts(self, prompts: Sequence[Sequence[Message]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(self.chat.encode(prompt)) for prompt in prompts], None, {}

    def _get_train_sampler(self, dataset: Any = None) -> _OrderOfEpoch:
        sampler = super()._get_train_sampler(dataset)  # type: ignore[misc]
        return _OrderOfEpoch(sampler, lambda: int(self.state.epoch or 0))


class PolicyGrpoTrainer(_OurPrompts, GRPOTrainer):  # type: ignore[misc]
    """GRPO on our prompts."""


class PolicyRlooTrainer(_OurPrompts, RLOOTrainer):  # type: ignore[misc]
    """RLOO on our prompts."""


def policy_trainer(
    settings: ReinforcementSettings,
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    watched: Sequence[Mapping[str, Any]],
    rewarder: Rewarder,
    judge: Scoring | None,
) -> tuple[Any, Watch | None]:
    """The trainer of a policy, and what watches it."""
    classes: dict[str, tuple[Any, Any]] = {
        "grpo": (GRPOConfig, PolicyGrpoTrainer),
        "rloo": (RLOOConfig, PolicyRlooTrainer),
    }
    config, trainer_class = classes[settings.algorithm]
    arguments = config(**trainer_arguments(settings, folder))
    tokenizer = load_tokenizer(settings)
    model = load_weights(settings, AutoModelForCausalLM)
    ends = model.generation_config.eos_token_id
    rewarder.end_ids = frozenset({tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None})
    functions: list[Any] = [rewarder]
    checkpoint = last_checkpoint(folder)
    resumed_at = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    watch = None
    if settings.watch is not None and judge is not None:
        watch = Watch(settings.watch, judge, rewarder, folder, resumed_at, gather_object)
        functions.append(watch)
    if settings.generation.uses_vllm:
        quiet()
        if not torch.cuda.is_available():
            settle_on_cpu()
    trainer = trainer_class(
        model,
        functions,
        args=arguments,
        train_dataset=Dataset.from_list([dict(row) for row in rows]),
        eval_dataset=Dataset.from_list([dict(row) for row in watched]) if watch else None,
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora, "CAUSAL_LM") if settings.lora else None,
    )
    if settings.generation.uses_vllm and not torch.cuda.is_available():
        trainer.vllm_generation.sync_weights = partial(reload_weights, trainer.vllm_generation)
    trainer._step = resumed_at * arguments.gradient_accumulation_steps  # completions are made at the same steps
    trainer.chat = open_chat(settings.spec)
    trainer.reward_func_names = ["reward", "judge"][: len(functions)]  # as the metrics call them
    rewarder.gather = lambda values: gather(values.to(trainer.accelerator.device)).to(values.device)
    if watch is not None and settings.watch is not None:
        watch.is_training = lambda: bool(trainer.model.training)
        trainer.add_callback(watch)
    return trainer, watch


def reload_weights(generation: Any) -> None:
    """Gives vLLM in this process the policy's weights as they are now, in place of what TRL does: without a GPU vLLM
    packs the weights that it loads, and only its own way of loading them anew unpacks them first."""
    worker = generation.llm.llm_engine.model_executor.driver_worker
    worker.model_runner.reload_weights(weights_iterator=generation._iter_named_params())
    generation.llm.reset_prefix_cache()


def trainer_arguments(settings: ReinforcementSettings, folder: Path) -> dict[str, Any]:
    """Our settings as keyword arguments of GRPOConfig or RLOOConfig."""
    workers = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    own: dict[str, Any] = {
        "num_generations": settings.completions,
        "max_completion_length": settings.sampling.max_tokens,
        "temperature": settings.sampling.temperature,
        "top_p": settings.sampling.top_p,
        "beta": settings.kl,
        "num_iterations": settings.passes,
        "epsilon": settings.clip,
        "disable_dropout": True,
    }
    if settings.algorithm == "grpo":
        own["scale_rewards"] = settings.scale
    if settings.generation.uses_vllm:
        own |= {
            "use_vllm": True,
            "vllm_mode": settings.generation.mode,
            "vllm_server_base_url": settings.generation.server,
            "vllm_gpu_memory_utilization": settings.generation.gpu_memory_utilization,
            "vllm_tensor_parallel_size": settings.generation.tensor_parallel,
            "vllm_enable_sleep_mode": settings.generation.sleep,
            "vllm_max_model_length": settings.max_length,
        }
    if settings.watch is not None:
        own |= {
            "eval_strategy": "steps",
            "eval_steps": settings.watch.every,
            "eval_on_start": last_checkpoint(folder) is None,
            "save_steps": settings.watch.every,  # what is judged can be kept
            "load_best_model_at_end": True,
            "metric_for_best_model": JUDGED,
            "greater_is_better": True,
            "num_generations_eval": 1,
            "per_device_eval_batch_size": settings.optimization.batch_size // workers,
            "reward_weights": [1.0, 0.0],
        }
    return {**training_arguments(settings, folder), **own}
