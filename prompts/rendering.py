"""What a model is sent: the conversation, the few-shots and the question, as chat turns.

    respond          conversation
    critique         few-shots, conversation, response, request                      ► a critique
    revise           few-shots, conversation, response, request, critique, request   ► a revision
    compare          few-shots, one turn with conversation, answers and question     ► (A) or (B)
    reason           the same, with reasons asked for                                ► the reasons
    reason_verdict   the same, the reasons, and a request to decide                  ► (A) or (B)
    proposition      few-shots, one turn with conversation, answer and question      ► (yes) or (no)
    rate             one turn with conversation, answer and question                 ► a step of a scale

What many calls share comes first, so that an engine that caches prefixes computes it once: a critique and its revision
share all but the last turn, and the principles of one comparison share all but the question. docs/prompts.md has more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from constitution.faults import BadInput, Fault, did_you_mean
from prompts.examples import FewShots
from prompts.few_shot_files import read_few_shots
from prompts.messages import Message
from prompts.template_files import Source, compile_templates, read_sources, too_long
from prompts.turns import alternating, assistant, characters, checked, system_text, user

Layout = Literal["shared_first", "paper"]
"""Where a judge's question stands: after all that principles share, or before the answers as in the CAI paper."""

MAX_CHARACTERS = 1_000_000
"""About 250,000 tokens: more than any window we run, and little enough that a runaway template is stopped early."""

TRANSCRIPTS_KEPT = 2_000
"""More than the rows that a worker has in flight."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One question to a model. `messages` ends with an assistant turn where the answer is begun for the model.

    `template_hash` identifies how it was asked (template, few-shots, layout), not what was asked: 16 hex digits.
    `options` are the next-token texts to choose from, where the answer is a choice. The messages are shared between
    calls: read them only.
    """

    messages: tuple[Message, ...]
    template: str
    template_hash: str
    stop: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Call:
    """How one kind of call is put together: the templates it renders (the last one names it) and its few-shots."""

    templates: tuple[str, ...]
    few_shots: str = ""


CALLS = {
    "respond": _Call(("respond",)),
    "critique": _Call(("critique",), "critique_revise"),
    "revise": _Call(("critique", "revise"), "critique_revise"),
    "revise_directly": _Call(("revise",), "revise_directly"),
    "compare": _Call(("transcript", "compare"), "compare"),
    "reason": _Call(("transcript", "reason"), "reason"),
    "reason_verdict": _Call(("transcript", "reason", "reason_verdict"), "reason"),
    "proposition": _Call(("transcript", "proposition"), "proposition"),
    "rate": _Call(("transcript", "rate")),
}


class PromptSet:
    """The templates and few-shots of a run. Pickled, it carries their texts, not their paths.

    `hashes` gives the template hash of every call: respond, critique, revise, revise_directly (no critique before it),
    compare, reason, reason_verdict, proposition, rate.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        few_shots: FewShots,
        layout: Layout = "shared_first",
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        """Raises BadInput where a template is at fault or the layout is unknown. Most callers want `load`."""
        if layout not in get_args(Layout):
            raise BadInput(Fault(f"there is no layout {layout!r}", hint=did_you_mean(layout, get_args(Layout))))
        self.sources = dict(sources)
        self.few_shots = few_shots
        self.layout: Layout = layout
        self.max_characters = max_characters
        self._templates = compile_templates(self.sources)
        self._transcripts: dict[int, tuple[Sequence[Message], str]] = {}
        self._shots = {
            "": (),
            "critique_revise": self._revise_shots(direct=False),
            "revise_directly": self._revise_shots(direct=True),
            "compare": self._compare_shots(),
            "reason": self._reason_shots(),
            "proposition": self._proposition_shots(),
        }
        self.hashes = {call: self._hash(call) for call in CALLS}

    @classmethod
    def load(
        cls,
        templates: Path | None = None,
        few_shots: Path | None = None,
        *,
        use_few_shots: bool = True,
        layout: Layout = "shared_first",
        max_characters: int = MAX_CHARACTERS,
    ) -> PromptSet:
        """Our templates and few-shots, with those of the given folders in place of ours.

        `few_shots` may be a folder with the CAI paper's JSON files. Raises BadInput with every fault of both.
        """
        faults: list[Fault] = []
        sources: Mapping[str, Source] = {}
        examples = FewShots()
        try:
            sources = read_sources(templates)
            compile_templates(sources)
        except BadInput as error:
            faults.extend(error.faults)
        try:
            examples = read_few_shots(few_shots) if use_few_shots else FewShots()
        except BadInput as error:
            faults.extend(error.faults)
        if faults:
            raise BadInput(faults)
        return cls(sources, examples, layout, max_characters)

    def __reduce__(self) -> tuple[Any, ...]:
        return PromptSet, (self.sources, self.few_shots, self.layout, self.max_characters)

    def respond(self, conversation: Sequence[Message]) -> Rendered:
        """The conversation itself, under the system message that the template makes (its own, unless changed)."""
        system = self._text("respond", system=system_text(conversation), conversation=conversation)
        return self._rendered("respond", *_system(system), *alternating(conversation))

    def critique(self, conversation: Sequence[Message], response: str, request: str) -> Rendered:
        """Asks for a critique of `response`, which stands as the assistant's answer to the conversation."""
        return self._rendered("critique", *self._criticised(conversation, response, request))

    def revise(
        self,
        conversation: Sequence[Message],
        response: str,
        critique: str | None,
        request: str,
        *,
        critique_request: str | None = None,
    ) -> Rendered:
        """Asks for a new answer. `critique` None: with no critique before it.

        A critique comes with the request that asked for it: this call then begins with all the turns of that one.
        """
        asked = self._revision_request(conversation, response, critique, request)
        if critique is None:
            answered = self._answered("revise_directly", conversation, response)
            return self._rendered("revise_directly", *answered, asked)
        assert critique_request is not None, "a critique is shown below the request that asked for it"
        criticised = self._criticised(conversation, response, critique_request)
        return self._rendered("revise", *criticised, assistant(critique), asked)

    def compare(self, conversation: Sequence[Message], first: str, second: str, question: str) -> Rendered:
        """Asks which of two answers is better. `options` are in the order (first, second)."""
        asked = self._pair("compare", conversation, first, second, question)
        return self._rendered("compare", *self._shots["compare"], asked)

    def reason(self, conversation: Sequence[Message], first: str, second: str, question: str) -> Rendered:
        """Asks for the reasons before a comparison. What the model writes goes on from the template's prefill."""
        asked = self._pair("reason", conversation, first, second, question)
        return self._rendered("reason", *self._shots["reason"], asked)

    def reason_verdict(
        self, conversation: Sequence[Message], first: str, second: str, question: str, reasoning: str
    ) -> Rendered:
        """Asks for the verdict after the reasons: `reasoning` is what the model wrote to `reason`, as it wrote it."""
        asked = self._pair("reason", conversation, first, second, question)
        return self._rendered("reason_verdict", *self._shots["reason"], asked, *self._decide(question, reasoning))

    def proposition(self, conversation: Sequence[Message], response: str, question: str) -> Rendered:
        """Asks a yes/no question about one answer. `options` are in the order (yes, no)."""
        asked = self._single("proposition", conversation, response, question)
        return self._rendered("proposition", *self._shots["proposition"], asked)

    def rate(self, conversation: Sequence[Message], response: str, question: str) -> Rendered:
        """Asks how good one answer is. `options` are the steps of the scale, the lowest first."""
        return self._rendered("rate", self._single("rate", conversation, response, question))

    # One turn each ------------------------------------------------------------------------------------------------

    def _text(self, name: str, **variables: Any) -> str:
        return self._templates[name].render(variables, self.max_characters)

    def _pair(self, name: str, conversation: Sequence[Message], first: str, second: str, question: str) -> Message:
        """The user turn that shows a judge two answers."""
        text = self._text(
            name,
            conversation=conversation,
            transcript=self._transcript(conversation),
            first=first,
            second=second,
            question=question,
            layout=self.layout,
        )
        return user(text)

    def _single(self, name: str, conversation: Sequence[Message], response: str, question: str) -> Message:
        """The user turn that shows a judge one answer."""
        text = self._text(
            name,
            conversation=conversation,
            transcript=self._transcript(conversation),
            response=response,
            question=question,
            layout=self.layout,
        )
        return user(text)

    def _transcript(self, conversation: Sequence[Message]) -> str:
        """The conversation as a judge reads it: rendered once for the many questions about one row."""
        if not isinstance(conversation, tuple):  # a list may have changed since
            return self._text("transcript", conversation=checked(conversation))
        known = self._transcripts.get(id(conversation))
        if known is None or known[0] is not conversation:
            if len(self._transcripts) >= TRANSCRIPTS_KEPT:
                self._transcripts.clear()
            known = (conversation, self._text("transcript", conversation=checked(conversation)))
            self._transcripts[id(conversation)] = known
        return known[1]

    def _critique_request(self, conversation: Sequence[Message], response: str, request: str) -> Message:
        return user(self._text("critique", conversation=conversation, response=response, request=request))

    def _revision_request(
        self, conversation: Sequence[Message], response: str, critique: str | None, request: str
    ) -> Message:
        text = self._text(
            "revise", conversation=conversation, response=response, critique=critique or "", request=request
        )
        return user(text)

    def _decide(self, question: str, reasoning: str) -> tuple[Message, Message]:
        """The reasons as the assistant gave them, and the user turn that asks for the verdict."""
        begun = self._templates["reason"].prefill
        gap = " " if begun and reasoning and not reasoning[0].isspace() else ""
        text = self._text("reason_verdict", question=question, reasoning=reasoning)
        return assistant(f"{begun}{gap}{reasoning}"), user(text)

    # The few-shots, rendered once ---------------------------------------------------------------------------------

    def _revise_shots(self, *, direct: bool) -> tuple[Message, ...]:
        """The examples of a revision, with their critiques unless `direct`."""
        shots: list[Message] = []
        for example in self.few_shots.critique_revise:
            conversation, response = example.messages, example.response
            critique = None if direct else example.critique
            shots += [*conversation, assistant(response)]
            if not direct:
                request = self._critique_request(conversation, response, example.critique_request)
                shots += [request, assistant(example.critique)]
            request = self._revision_request(conversation, response, critique, example.revision_request)
            shots += [request, assistant(example.revision)]
        return tuple(shots)

    def _compare_shots(self) -> tuple[Message, ...]:
        shots: list[Message] = []
        for example in self.few_shots.compare:
            asked = self._pair("compare", example.messages, example.first, example.second, example.question)
            shots += [asked, assistant(self._templates["compare"].answer(example.answer_index))]
        return tuple(shots)

    def _reason_shots(self) -> tuple[Message, ...]:
        shots: list[Message] = []
        for example in self.few_shots.reason:
            asked = self._pair("reason", example.messages, example.first, example.second, example.question)
            verdict = assistant(self._templates["reason_verdict"].answer(example.answer_index))
            shots += [asked, *self._decide(example.question, example.reasoning), verdict]
        return tuple(shots)

    def _proposition_shots(self) -> tuple[Message, ...]:
        shots: list[Message] = []
        for example in self.few_shots.proposition:
            asked = self._single("proposition", example.messages, example.response, example.question)
            shots += [asked, assistant(self._templates["proposition"].answer(example.answer_index))]
        return tuple(shots)

    # The whole ----------------------------------------------------------------------------------------------------

    def _answered(self, shots: str, conversation: Sequence[Message], response: str) -> tuple[Message, ...]:
        """System message, few-shots, the conversation, and the answer that is to be looked at."""
        system = _system(system_text(conversation))
        return (*system, *self._shots[shots], *alternating(conversation), assistant(response))

    def _criticised(self, conversation: Sequence[Message], response: str, request: str) -> tuple[Message, ...]:
        answered = self._answered("critique_revise", conversation, response)
        return (*answered, self._critique_request(conversation, response, request))

    def _rendered(self, call: str, *messages: Message) -> Rendered:
        """The question with its settings. Raises BadInput where it is longer than allowed."""
        template = self._templates[CALLS[call].templates[-1]]
        if template.prefill:
            messages = (*messages, assistant(template.prefill))
        length = characters(messages)
        if length > self.max_characters:
            raise BadInput(too_long(template.name, length, self.max_characters))
        return Rendered(messages, template.name, self.hashes[call], template.stop, template.options)

    def _hash(self, call: str) -> str:
        """What identifies the way a call asks: its templates, what they set, its few-shots, and the layout if used."""
        templates = [self._templates[name] for name in CALLS[call].templates]
        value = {
            "templates": [template.source.text for template in templates],
            "settings": [sorted(template.settings.items()) for template in templates],
            "few_shots": self._shots[CALLS[call].few_shots],
            "layout": self.layout if any(template.uses_layout for template in templates) else "",
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _system(content: str) -> tuple[Message, ...]:
    return ({"role": "system", "content": content},) if content else ()
