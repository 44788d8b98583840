"""Advice on a constitution that is valid: what will probably not do what its author wants.

Each finding names its rule, its place, and what to do. Faults, which stop a run, are found while loading.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

from constitution.faults import Fault
from constitution.schema import RISK_CATEGORIES, Constitution, Principle
from constitution.validation import Location
from constitution.yaml_files import Document

TEXTS = ("critique", "revision", "comparison")
LONGEST_TEXT, LONGEST_PREAMBLE = 300, 3000
"""Words. A request beyond this crowds the conversation out of a small model's window, and models follow it worse."""
RAREST_SHARE = 0.005
"""A principle drawn more rarely than this is not seen in a run of a few hundred rows."""
NEAR = 0.85
"""Share of words in common, in order, from which two texts count as the same question."""

DIRECTION = re.compile(r"\b(which|whichever|choose|pick|prefer|select|favou?r|better|best|rather)\b", re.IGNORECASE)
LEFTOVER = re.compile(
    r"(Critique ?Request:|Revision ?Request:|Critique:|Revision:|Options:|The answer is:?|\(A\)|\(B\))"
)
TEMPLATE = re.compile(r"\{\{|\}\}|\{%|%\}|\{#|#\}|\$\{")


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of advice. `principle` and `field` say where; "" stands for the whole constitution."""

    rule: str
    message: str
    hint: str
    principle: str = ""
    field: str = ""

    def fault(self, document: Document) -> Fault:
        """The finding at its place in the file it was written in."""
        location: Location = (self.field,) if self.field else ()
        where = "warning"
        entries = document.data.get("principles", []) if isinstance(document.data, dict) else []
        for index, entry in enumerate(entries if self.principle else []):
            if entry["id"].strip() == self.principle:
                location = ("principles", index, *location)
                where = f"warning: principles[{index}] '{self.principle}'"
        return document.fault(location, f"{self.message} [{self.rule}]", self.hint, where=where)


def lint(constitution: Constitution) -> list[Finding]:
    """Everything worth a second look, in the order of the principles; what concerns the whole stands first."""
    findings = [finding for rule in WHOLE_RULES for finding in rule(constitution)]
    for principle in constitution.principles:
        findings += [finding for rule in PRINCIPLE_RULES for finding in rule(principle)]
    return findings + list(_near_identical(constitution))


def own_findings(constitution: Constitution, document: Document) -> list[Fault]:
    """The findings at their places, in the order of the file, less those on principles that it inherits."""
    data = document.data if isinstance(document.data, dict) else {}
    own = {"", *(entry["id"].strip() for entry in data.get("principles") or [])}
    faults = [finding.fault(document) for finding in lint(constitution) if finding.principle in own]
    return sorted(faults, key=lambda fault: (fault.line, fault.column))


# ── On the whole constitution ────────────────────────────────────────────────────────────────────────────────────────


def _does_one_half(constitution: Constitution) -> Iterator[Finding]:
    if not constitution.for_revision():
        message, hint = "no principle can revise", "add 'critique' and 'revision', or use it for comparisons only"
        yield Finding("cannot-revise", message, hint, field="principles")
    if not constitution.for_comparison():
        message, hint = "no principle can compare", "add 'comparison', or use it for revisions only"
        yield Finding("cannot-compare", message, hint, field="principles")


def _sees_no_bad_pairs(constitution: Constitution) -> Iterator[Finding]:
    if constitution.for_comparison() and not constitution.propositions():
        message = "no principle has propositions, so a pair of two bad answers looks like any other"
        yield Finding("no-propositions", message, "add a yes/no check on a single answer", field="principles")


def _leaves_categories_out(constitution: Constitution) -> Iterator[Finding]:
    named = set(constitution.risk_categories)
    if any(not each.risk for each in constitution.principles):
        return
    for category in RISK_CATEGORIES:
        if category not in named:
            message = f"no principle covers '{category}': its prompts get principles written for other categories"
            yield Finding("uncovered-risk", message, "add one, or a principle without 'risk'", field="principles")


def _asks_one_question_twice(constitution: Constitution) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for principle in constitution.principles:
        for check in principle.propositions:
            name = first.setdefault(check.question, check.id)
            if name != check.id:
                message = f"the proposition '{check.id}' asks the same as '{name}', and both cost a call"
                yield Finding("same-question", message, f"call both '{name}'", principle.id, "propositions")


def _rarely_drawn(constitution: Constitution) -> Iterator[Finding]:
    total = sum(each.weight for each in constitution.principles)
    for principle in constitution.principles:
        if principle.weight / total < min(RAREST_SHARE, 0.1 / len(constitution.principles)):
            message = (
                f"the weight {principle.weight:g} is {principle.weight / total:.2%} of all: it is hardly ever drawn"
            )
            yield Finding("rarely-drawn", message, "raise it, or remove the principle", principle.id, "weight")


def _has_no_tests(constitution: Constitution) -> Iterator[Finding]:
    hint = "add a prompt with a better and a worse answer"
    untested = [each.id for each in constitution.principles if not each.tests]
    if 1 < len(untested) == len(constitution.principles):  # said once, not for each of an imported list
        message = f"none of the {len(untested)} principles has tests that show what it should decide"
        yield Finding("no-tests", message, hint, field="principles")
        return
    for name in untested:
        yield Finding("no-tests", "nothing shows what the principle should decide", hint, name)


def _long_preamble(constitution: Constitution) -> Iterator[Finding]:
    words = len(constitution.preamble.split())
    if words > LONGEST_PREAMBLE:
        message = f"the preamble has {words:,} words"
        yield Finding(
            "too-long", message, f"keep it under {LONGEST_PREAMBLE:,}: models have a window", field="preamble"
        )


# ── On one principle ─────────────────────────────────────────────────────────────────────────────────────────────────


def _tests_nothing(principle: Principle) -> Iterator[Finding]:
    for index, case in enumerate(principle.tests):
        if case.better == case.worse:
            message = f"'better' and 'worse' of tests[{index}] are the same"
            yield Finding("test-decides-nothing", message, "write two different answers", principle.id, "tests")


def _names_no_direction(principle: Principle) -> Iterator[Finding]:
    if principle.comparison and not DIRECTION.search(principle.comparison):
        message = "the comparison does not say which response to choose"
        yield Finding("no-direction", message, "ask 'Which response …?'", principle.id, "comparison")


def _holds_braces(principle: Principle) -> Iterator[Finding]:
    for field in TEXTS:
        text = getattr(principle, field) or ""
        if TEMPLATE.search(text) or text.count("{") != text.count("}"):
            message = f"the {field} holds braces; nothing fills them in, and the model sees them as they are"
            yield Finding("braces", message, "write the words themselves", principle.id, field)


def _holds_prompt_format(principle: Principle) -> Iterator[Finding]:
    for field in TEXTS:
        leftover = LEFTOVER.search(getattr(principle, field) or "")
        if leftover:
            message = f"the {field} holds '{leftover[0]}', which belongs to the prompt around it"
            yield Finding("prompt-format", message, "leave it out: the template adds its own", principle.id, field)


def _too_long(principle: Principle) -> Iterator[Finding]:
    for field in TEXTS:
        words = len((getattr(principle, field) or "").split())
        if words > LONGEST_TEXT:
            hint = f"keep it under {LONGEST_TEXT}, or split the principle"
            yield Finding("too-long", f"the {field} has {words:,} words", hint, principle.id, field)


def _misspells_risk(principle: Principle) -> Iterator[Finding]:
    for category in principle.risk:
        near = difflib.get_close_matches(category.replace("-", "_"), RISK_CATEGORIES, n=1, cutoff=0.8)
        if near and category not in RISK_CATEGORIES:
            message = f"the risk category '{category}' looks like '{near[0]}' misspelt"
            yield Finding("unknown-risk", message, f"write '{near[0]}'", principle.id, "risk")


def _near_identical(constitution: Constitution) -> Iterator[Finding]:
    """Pairs that ask nearly the same. Words in common are counted first: that is fast, and rules most pairs out."""
    for field in ("critique", "comparison"):
        texts = [(each.id, _words(getattr(each, field))) for each in constitution.principles if getattr(each, field)]
        for (one, words), (other, more) in combinations(texts, 2):
            shared = len(set(words) & set(more)) / max(1, len(set(words) | set(more)))
            if shared >= NEAR - 0.15 and difflib.SequenceMatcher(None, words, more, autojunk=False).ratio() >= NEAR:
                message = f"the {field} says nearly the same as that of '{one}', so the two count double"
                yield Finding("near-identical", message, "merge them, or tell them apart", other, field)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


WHOLE_RULES: tuple[Callable[[Constitution], Iterator[Finding]], ...] = (
    _does_one_half,
    _sees_no_bad_pairs,
    _leaves_categories_out,
    _asks_one_question_twice,
    _rarely_drawn,
    _has_no_tests,
    _long_preamble,
)
PRINCIPLE_RULES: tuple[Callable[[Principle], Iterator[Finding]], ...] = (
    _tests_nothing,
    _names_no_direction,
    _holds_braces,
    _holds_prompt_format,
    _too_long,
    _misspells_risk,
)
