"""What a policy drifts towards while it is rewarded: phrases that it says whatever it is asked, sameness, length.

Pure functions of texts. Words are compared in lower case and without punctuation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.phrases import WORDS

PHRASE_WORDS = 4


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case; an apostrophe inside belongs to its word."""
    return [word.replace("’", "'") for word in WORDS.findall(text.lower())]


def phrases_of(text: str, length: int = PHRASE_WORDS) -> Iterator[tuple[str, ...]]:
    """Every run of `length` words."""
    words = words_of(text)
    for start in range(len(words) - length + 1):
        yield tuple(words[start : start + length])


def distinct(texts: Sequence[str], length: int = PHRASE_WORDS) -> float | None:
    """Distinct-n: different runs of n words as a share of all (Li et al. 2016). It falls with the number of texts, so
    compare equal numbers. None without any run."""
    found = Counter(phrase for text in texts for phrase in phrases_of(text, length))
    return len(found) / found.total() if found else None


@dataclass(frozen=True, slots=True)
class StockPhrase:
    """A run of words, and in what share of the answers and of the prompts' answers it is said."""

    phrase: str
    answers: float
    prompts: float


def stock_phrases(prompts: Sequence[str], texts: Sequence[str], count: int = 5) -> list[StockPhrase]:
    """The phrases that are said on most prompts, the commonest first. `prompts` names the prompt of each text.

    A phrase that is a prompt's own words is said by many answers to that prompt; one that is said on many prompts is
    the policy's. Phrases that overlap one already listed (in more than half of its answers) are one family with it.
    """
    said: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    for number, text in enumerate(texts):
        for phrase in set(phrases_of(text)):
            said[phrase].add(number)
    asked = len(set(prompts))
    ranked = sorted(
        ((len({prompts[number] for number in numbers}), len(numbers), phrase) for phrase, numbers in said.items()),
        key=lambda entry: (-entry[0], -entry[1], entry[2]),
    )
    listed: list[tuple[StockPhrase, set[int]]] = []
    for on_prompts, in_answers, phrase in ranked:
        if len(listed) == count:
            break
        numbers = said[phrase]
        if any(len(numbers & earlier) > len(numbers) / 2 for _, earlier in listed):
            continue
        listed.append((StockPhrase(" ".join(phrase), in_answers / len(texts), on_prompts / asked), numbers))
    return [entry for entry, _ in listed]
