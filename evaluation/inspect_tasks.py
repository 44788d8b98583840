"""Inspect tasks over any file of prompts that Charter reads (the extra `inspect`; https://inspect.aisi.org.uk).

    charter serve runs/final                                      # prints the address
    python -m inspect_ai eval evaluation/inspect_tasks.py -T prompts=xstest_prompts.csv \\
        --model openai-api/charter/final -M base_url=http://127.0.0.1:8000/v1

From the folder that holds `evaluation`. The task asks and generates; whether an answer refuses is said by Charter's
detector. Rates are by risk category, so that `benign` and `lookalike` hold the false refusals.
"""

from __future__ import annotations

import math

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import Score, Scorer, Target, grouped, mean, scorer
from inspect_ai.solver import TaskState, generate

from engine.inputs import PromptSource, read_prompts
from engine.records import Prompt
from evaluation.refusals import detect_refusal

ROLES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


@task  # type: ignore[untyped-decorator] # no part of the test set-up
def refusals(prompts: str, category: str = "", max_tokens: int = 256) -> Task:
    """How often the prompts of each category are refused, in full or in part. Raises BadInput where they are none."""
    source = PromptSource(path=prompts, category=category)
    return Task(
        dataset=MemoryDataset([_sample(prompt) for prompt in read_prompts([source])]),
        solver=[generate()],
        scorer=refused(),
        config=GenerateConfig(temperature=0.0, max_tokens=max_tokens),
    )


def _sample(prompt: Prompt) -> Sample:
    turns: list[ChatMessage] = [ROLES[message["role"]](content=message["content"]) for message in prompt.messages]
    tags = {"category": prompt.category or "none", "vector": prompt.vector or "none"}
    return Sample(input=turns, id=prompt.item_id, metadata=tags)


@scorer(metrics=[grouped(mean(), "category")])  # type: ignore[untyped-decorator]
def refused() -> Scorer:
    """1 where the answer refuses, 0 where it does not, and no number where it cannot be read."""

    async def score(state: TaskState, target: Target) -> Score:
        found = detect_refusal(state.user_prompt.text, state.output.completion)
        if found is None:
            return Score(value=math.nan, explanation="the answer cannot be read")
        return Score(value=float(found.refuses), answer=state.output.completion, explanation=found.extent)

    return score
