"""Rows that would poison a trainer: what no export may hold, whatever its format.

A trainer does not complain of these. It learns nothing from an answer preferred to itself, a wrong turn from a prompt
that the assistant ends, our own prompts from a leaked template, and a broken conversation from a chat marker in a
text. Each function returns the reason, or None where the row is sound. Text that is no Unicode never comes here: the
readers refuse it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.pairs import Pair, text_of
from engine.products import RevisionExample
from prompts.messages import Message
from prompts.reading import holds_chat_marker, leaks_template

EMPTY_PROMPT = "the prompt is empty"
EMPTY_ANSWER = "an answer is empty"
EQUAL = "chosen equals rejected"
ASSISTANT_ENDS = "the prompt ends with an assistant turn"
SYSTEM_ENDS = "the prompt ends with a system message"
MARKED = "a chat template's marker in the prompt"
LEAKED = "a template leaked into an answer"
NOT_ASSISTANT = "an answer does not end with the assistant"
AGAINST = "its probability speaks against the label"
NO_WEIGHT = "its weight is no number from 0"


def poison_in_prompt(prompt: Sequence[Message]) -> str | None:
    """Why nothing can be learnt from answers to this conversation."""
    if not prompt:
        return EMPTY_PROMPT
    if prompt[-1]["role"] == "assistant":
        return ASSISTANT_ENDS
    if prompt[-1]["role"] == "system":
        return SYSTEM_ENDS
    if not prompt[-1]["content"].strip():
        return EMPTY_PROMPT
    if any(holds_chat_marker(message["content"]) for message in prompt):
        return MARKED
    return None


def poison_in_pair(pair: Pair, *, allow_leaks: bool = False) -> str | None:
    """Why a pair must not be learnt from."""
    if pair.status in ("undecided", "identical", "tie"):
        return pair.status
    if pair.probability is not None and pair.probability <= 0.5:
        return "tie" if pair.probability == 0.5 else AGAINST
    if not (math.isfinite(pair.weight) and pair.weight >= 0):
        return NO_WEIGHT
    if text_of(pair.chosen).strip() == text_of(pair.rejected).strip():
        return EQUAL
    return (
        poison_in_prompt(pair.prompt) or _in_answer(pair.chosen, allow_leaks) or _in_answer(pair.rejected, allow_leaks)
    )


def poison_in_revision(example: RevisionExample, *, allow_leaks: bool = False) -> str | None:
    """Why a demonstration must not be learnt from."""
    return poison_in_prompt(example.prompt) or _in_answer(example.completion, allow_leaks)


def _in_answer(answer: Sequence[Message], allow_leaks: bool) -> str | None:
    if not answer or not answer[-1]["content"].strip():
        return EMPTY_ANSWER
    if answer[-1]["role"] != "assistant":
        return NOT_ASSISTANT
    if not allow_leaks and any(leaks_template(message["content"]) for message in answer):
        return LEAKED
    return None
