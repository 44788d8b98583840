"""Reading what a model answered. An answer that cannot be read raises; it never becomes a label.

BadAnswer             the model answered, but not with what was asked
├── UnparsedAnswer    no option can be read from the answer
├── TruncatedAnswer   the answer was cut before its verdict
└── LowMass           the options together hold less probability than asked
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from constitution.faults import CharterError

NO_CHANGE = "No change needed."
"""What a critic is asked to write where it finds no fault."""


class BadAnswer(CharterError):
    """The model answered, and the answer is not what was asked for."""


class UnparsedAnswer(BadAnswer):
    """No option can be read from the answer."""


class TruncatedAnswer(BadAnswer):
    """The answer was cut off before it reached its verdict."""


class LowMass(BadAnswer):
    """The options together hold too little of the probability: the model wanted to say something else."""


# A verdict from log-probabilities -------------------------------------------------------------------------------------

ROUNDING = 1e-4
"""A log-probability may be this far above 0 (float32), and no further."""
MASS_ROUNDING = 0.02
"""The options' probabilities may sum to this much above 1: servers round log-probabilities, bf16 to three digits."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The options' probabilities given that one of them is said (they sum to 1), and the mass they held, in [0, 1]."""

    probabilities: tuple[float, ...]
    mass: float


def read_choice(log_probabilities: Sequence[float], min_mass: float) -> Verdict:
    """The verdict behind the raw log-probabilities of the options, in their order.

    An option may be impossible (−inf), but not all of them. Raises UnparsedAnswer where the numbers are no
    log-probabilities of different tokens of one distribution, LowMass where they hold less than `min_mass` together.
    """
    assert 0 <= min_mass <= 1, f"min_mass is a probability, not {min_mass}"
    shown = ", ".join(f"{value:.4g}" for value in log_probabilities)
    if not log_probabilities:
        raise UnparsedAnswer("the model returned no log-probabilities for the options")
    if any(math.isnan(value) or value > ROUNDING for value in log_probabilities):
        raise UnparsedAnswer(f"these are no log-probabilities: {shown}; each must be a number that is 0 or less")
    weights = [math.exp(min(value, 0.0)) for value in log_probabilities]
    mass = sum(weights)
    if mass > 1 + MASS_ROUNDING:
        message = f"the options' probabilities sum to {mass:.4g}, more than 1 (log-probabilities {shown})"
        raise UnparsedAnswer(message)
    if mass < min_mass:
        message = (
            f"the options hold {mass:.3g} of the probability together, and {min_mass:.3g} is asked for: the model "
            f"would rather have said something else (log-probabilities {shown})"
        )
        raise LowMass(message)
    top = max(log_probabilities)
    if top == -math.inf:
        raise UnparsedAnswer("the model gave none of the options any probability")
    relative = [math.exp(value - top) for value in log_probabilities]
    return Verdict(tuple(value / sum(relative) for value in relative), min(mass, 1.0))


# A verdict from text --------------------------------------------------------------------------------------------------

LEAD = (
    r"(?:(?:so|thus|hence|therefore|overall)\b,?\s*)?(?:i\s+(?:think|believe|would\s+say)\s+(?:that\s+)?)?"
    r"(?:i\s+(?:choose|pick|prefer)\s+|(?:(?:the|my)\s+)?(?:(?:final|correct|right|better|best)\s+)?"
    r"(?:answer|choice|verdict)(?:\s+is)?\s*:?\s*)?(?:(?:option|answer|response)\s+)?"
)
PRAISE = (
    r"(?:\s+(?:is|would\s+be)\s+(?:the\s+)?(?:better|best|right|correct)(?:\s+(?:one|option|answer|response|choice))?)?"
)
REASON = r"(?:,?\s+(?:because|since)\b.*)?"
"""Around its option, a verdict may say these things and nothing else."""

ARTICLE = r"(?!\s+(?!is\b|was\b|and\b|or\b|does\b|has\b|would\b)[a-z])"
"""Follows a bare "A" that is a letter: the article stands before another word."""


def read_letter(text: str, options: Sequence[str] = ("A", "B"), finish_reason: str = "stop") -> int:
    """The index of the option that a written answer chooses: "(A)", "A.", "The answer is: (B).", "answer: A".

    A sentence that does nothing but name one option is a verdict. Prose that begins with the article ("A good answer
    would …") is none; nor is an option that is only spoken about.
    Raises TruncatedAnswer where the model was cut off (`finish_reason` "length"), UnparsedAnswer where no option or
    several are chosen, or another one is named after the verdict.
    """
    if finish_reason == "length":
        raise TruncatedAnswer(f"the answer was cut off at its token limit: {_shortened(text)}")
    sentence = _sentence_pattern(tuple(options))
    chosen: set[int] = set()
    rest = ""
    for piece in re.split(r"\n+|(?<=[.!?;])\s+", MARKUP.sub("", text).strip()):
        match = sentence.fullmatch(piece.strip())
        if match is not None:
            chosen.add(_index(match["marked"] or match["bare"], options))
            rest = ""
        else:
            rest += f"{piece}\n"
    if len(chosen) != 1:
        found = "chooses more than one option" if chosen else "chooses no option"
        wanted = " or ".join(f"({option})" for option in options)
        raise UnparsedAnswer(f"the answer {found}; {wanted} was asked for: {_shortened(text)}")
    index = chosen.pop()
    others = [option for place, option in enumerate(options) if place != index]
    if any(_names(rest, option) for option in others):
        raise UnparsedAnswer(f"the answer names another option after its verdict: {_shortened(text)}")
    return index


MARKUP = re.compile(r"[*_`#\"“”]+")


@functools.cache
def _sentence_pattern(options: tuple[str, ...]) -> re.Pattern[str]:
    """Matches a sentence that does nothing but choose one of the options."""
    letters = all(len(option) == 1 for option in options)
    named = "|".join(re.escape(option) for option in options)
    bare = f"{named}" if letters else f"(?i:{named})"  # a bare letter is a capital; "a" would be the article
    mark = rf"(?:[(\[]\s*(?P<marked>(?i:{named}))\s*[)\]]|(?P<bare>{bare})[)\]]?)"
    # "Yes, it does." is a verdict unless it goes on to say no.
    goes_on = "" if letters else rf"|,\s(?:(?!\b(?i:{named})\b).)*"
    return re.compile(rf"(?i:{LEAD}){mark}(?:(?i:{PRAISE}{REASON}){goes_on})[.!;]?")


def _index(named: str, options: Sequence[str]) -> int:
    return [option.lower() for option in options].index(named.lower())


def _names(text: str, option: str) -> bool:
    """Whether the text speaks of the option: in brackets, or as a letter that is not the article."""
    if re.search(rf"[(\[]\s*{re.escape(option)}\s*[)\]]", text, re.IGNORECASE):
        return True
    article = ARTICLE if option in {"A", "I"} else ""
    return len(option) == 1 and re.search(rf"\b{re.escape(option)}\b{article}", text) is not None


def _shortened(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 120 else f"{text[:60]} … {text[-50:]}")


# A critique and a revision --------------------------------------------------------------------------------------------

NO_FAULT = re.compile(
    r"(?:critique:\s*)?(?:there\s+(?:is|are)\s+)?(?:"
    r"no\s+(?:further\s+)?(?:changes?|revisions?|edits?|rewrit\w+)\s*(?:is|are|was|were)?\s*(?:needed|required|necessary)"
    r"|nothing\s+(?:is\s+wrong|needs\s+to\s+(?:change|be\s+changed)|wrong))",
    re.IGNORECASE,
)
BUT = re.compile(r"\b(?:but|however|except|although|though|yet|that said|should|could)\b", re.IGNORECASE)


def read_critique(text: str) -> bool | None:
    """Whether a critique finds a fault: False where it says that no change is needed, None where it says nothing.

    In doubt it finds one: "No change needed, but …" does, so that a doubtful answer is revised, not waved through.
    """
    sentences = [piece.strip(" .!*_`\"'“”") for piece in re.split(r"\n+|(?<=[.!?])\s+", text)]
    sentences = [sentence for sentence in sentences if sentence]
    if not sentences:
        return None
    says_so = NO_FAULT.fullmatch(sentences[0]) or NO_FAULT.fullmatch(sentences[-1])
    return not says_so or BUT.search(text) is not None


def clean_revision(text: str) -> str:
    """The text without the white space around it. Nothing else is ever cut: what looks wrong is flagged instead."""
    return text.strip()


CHAT_MARKERS = r"<\|[a-z0-9_]+\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
LEAKS = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        # the labels of a critique prompt, at the start of a line
        r"^[ \t*#]*(?:(?:critique|revision) ?request|critique|(?:revised|rewritten|new) (?:answer|response))[ *]*:",
        r"\A[ \t*#]*revision[ *]*:",
        # an announcement in place of the response
        r"^(?:\W*(?:sure|certainly|of course|okay|ok)\b\W*)?here(?:'s|’s| is) (?:the|a|my|your|an)\s(?:\w+\s)?"
        r"(?:revised|rewritten|improved|corrected|new)\s(?:\w+\s)?(?:answer|response|reply|version)\s?(?::|$)",
        r"\Ahere(?:'s|’s| is) (?:the|a|my|your) (?:revision|rewrite)\b",
        # the other speaker's turn, or a label of one's own
        r"(?:\A|\n[ \t]*\n)[ \t*]*(?:human|user|assistant)[ *]*:",
        # a judge's template
        r"the answer is: \(",
        r"</?(?:conversation|response)>",
        CHAT_MARKERS,
        # our instructions, echoed
        r"write only the (?:critique|new response)|repeat the response unchanged|write exactly: no change",
        r"\A\W*no change needed\W*\Z",
        # a critique where a revision is due
        r"\A\W*(?:in )?the assistant(?:'s|’s)? (?:(?:last|previous|preceding|original) )?"
        r"(?:response|answer|reply|should|could|fails|did|does)\b",
        r"\A\W*(?:my|your) (?:last|previous|preceding|original) (?:response|answer|reply)\b",
    )
)


def holds_chat_marker(text: str) -> bool:
    """Whether a tokenizer may read a part of the text as the border of a turn."""
    return re.search(CHAT_MARKERS, text, re.IGNORECASE) is not None


def leaks_template(text: str) -> str | None:
    """The first marker of a leaked template or of a confused role in a final text, as it stands there; None if clean.

    For flags and for export, not for cutting: dialogue that a user asked for may rightly hold such a line.
    """
    found = [match for pattern in LEAKS if (match := pattern.search(text))]
    return min(found, key=lambda match: match.start()).group().strip() if found else None
