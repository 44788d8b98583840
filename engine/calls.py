"""One question put to a model: the answer as it came, and the record of what was asked with and what it cost."""

from __future__ import annotations

from dataclasses import replace

from engine.model import Choice, Completion, Model, Sampling
from engine.records import Call
from engine.settings import SamplingSettings
from prompts.messages import Message
from prompts.rendering import Rendered

CHOICE = Sampling(temperature=0.0, max_tokens=1)
"""A choice decodes nothing: these are what it is recorded as having been drawn with."""


def call_of(step: str, rendered: Rendered, model: Model, sampling: Sampling, answer: Completion | Choice) -> Call:
    """What a vote, a check or an answer keeps of the question that it came from."""
    return Call(
        step=step,
        template_hash=rendered.template_hash,
        model=model.name,
        revision=model.revision,
        seed=sampling.seed,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        prompt_tokens=answer.prompt_tokens,
        cached_tokens=answer.cached_tokens,
        completion_tokens=answer.completion_tokens if isinstance(answer, Completion) else 0,
        finish_reason=answer.finish_reason if isinstance(answer, Completion) else "choice",
    )


def under(preamble: str, rendered: Rendered) -> Rendered:
    """The same question with a preamble at the head of its system message; as it is where the preamble is empty."""
    if not preamble:
        return rendered
    messages = rendered.messages
    own = messages[0]["content"] if messages[0]["role"] == "system" else ""
    system = Message(role="system", content=f"{preamble}\n\n{own}" if own else preamble)
    return replace(rendered, messages=(system, *(messages[1:] if own else messages)))


async def generated(
    step: str, model: Model, rendered: Rendered, settings: SamplingSettings, seed: int
) -> tuple[str, Call]:
    """One completion as it was written, and what it cost."""
    sampling = settings.sampling(seed, rendered.stop)
    completion = await model.generate(rendered.messages, sampling)
    return completion.text, call_of(step, rendered, model, sampling, completion)
