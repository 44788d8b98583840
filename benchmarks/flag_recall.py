"""What flags find in real pairs: faults planted in hh-rlhf's file, and the oddities that it has by itself.

    python benchmarks/flag_recall.py harmless-base.jsonl.gz xstest [--seeds 5]

    duplicates    copies of 100 pairs, unchanged, reworded a little, or with the label turned round, put behind the
                  pairs they copy. Recall: copies flagged; false alarms: other pairs flagged
    mislabelled   a tenth of the labels turned round; the preference model is a linear one over words, length and
                  refusals, fitted on the other four fifths of the prompts
    both bad      pairs of two answers that comply with an unsafe prompt of XSTest, each half of one completion, among
                  hh-rlhf's and among pairs of which at most one answer is bad. The check on single answers is a linear
                  classifier over words and refusals, fitted on XSTest's human labels for the other four fifths of its
                  prompts: a stand-in for a judge that answers propositions
    oddities      every flag's count on the file as it is

Prints tables with the mean over seeds and the range. Needs no GPU.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from charter.flagging import refuses
from engine.duplicates import WORD
from engine.flags import Evidence, PairFlags, count_flags, flag_pairs
from engine.pairs import Pair, read_pairs, text_of
from engine.settings import FlagSettings
from prompts.messages import Message

PLANTED = 100
TURNED_SHARE = 0.1
FOLDS = 5

Floats = np.ndarray[Any, np.dtype[np.float64]]


# Duplicates -----------------------------------------------------------------------------------------------------------


def unchanged(text: str, random_source: random.Random) -> str:
    return text


def repunctuated(text: str, random_source: random.Random) -> str:
    """Capitals, line ends and commas as another export of the same data has them."""
    return " ".join(re.sub(r"[,;!]", "", text).lower().split())


def reworded(share: float) -> Callable[[str, random.Random], str]:
    """A share of the words replaced, each by chance."""

    def change(text: str, random_source: random.Random) -> str:
        return re.sub(r"\w+", lambda match: "something" if random_source.random() < share else match[0], text)

    return change


KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "unchanged": unchanged,
    "case and punctuation": repunctuated,
    "1 word in 50 replaced": reworded(0.02),
    "1 word in 20 replaced": reworded(0.05),
    "label turned round": unchanged,
}


def copy(pair: Pair, number: int, kind: str, random_source: random.Random) -> Pair:
    """A copy of a pair under another id."""

    def changed(turns: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(Message(role=m["role"], content=KINDS[kind](m["content"], random_source)) for m in turns)

    made = replace(
        pair,
        pair_id=f"copy-{number}",
        prompt=changed(pair.prompt),
        chosen=changed(pair.chosen),
        rejected=changed(pair.rejected),
    )
    return replace(made, chosen=made.rejected, rejected=made.chosen) if kind == "label turned round" else made


def planted_duplicates(pairs: Sequence[Pair], kind: str, seed: int) -> tuple[float, int]:
    """The recall of planted copies, and how many other pairs are flagged."""
    random_source = random.Random(seed)
    mixed = list(pairs)
    for number, original in enumerate(random_source.sample(list(pairs), PLANTED)):
        place = random_source.randint(mixed.index(original) + 1, len(mixed))
        mixed.insert(place, copy(original, number, kind, random_source))
    flagged = {each.pair_id for each in flagged_with(mixed, "near_duplicate")}
    found = sum(name.startswith("copy-") for name in flagged)
    return found / PLANTED, len(flagged) - found


def flagged_with(pairs: Sequence[Pair], flag: str, evidence: Evidence | None = None) -> list[PairFlags]:
    return [each for each in flag_pairs(lambda: pairs, FlagSettings(), evidence) if flag in each.names]


# Labels turned round --------------------------------------------------------------------------------------------------


def differences(pairs: Sequence[Pair]) -> csr_matrix:
    """Chosen minus rejected: words and word pairs, length, a question back, an apology, a refusal."""
    sides = [
        [text_of(answer) for answer in answers] for answers in ((p.chosen for p in pairs), (p.rejected for p in pairs))
    ]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True).fit([*sides[0], *sides[1]])
    words = vectorizer.transform(sides[0]) - vectorizer.transform(sides[1])
    plain = [
        [
            [np.log1p(len(WORD.findall(text))), "?" in text, "sorry" in text.lower(), bool(refuses(pair.prompt, text))]
            for pair, text in zip(pairs, texts, strict=True)
        ]
        for texts in sides
    ]
    return hstack([words, csr_matrix(np.array(plain[0], float) - np.array(plain[1], float))]).tocsr()


def held_out_scores(features: csr_matrix, openings: Sequence[str]) -> Floats:
    """Each pair's score by a model that saw no pair with its opening: the log-odds that the label is right."""
    scores = np.zeros(features.shape[0])
    for train, test in GroupKFold(FOLDS).split(features, groups=openings):
        known = features[train]
        mirrored = vstack([known, -known])  # a pair and its mirror image: the model has no side of its own
        labels = np.repeat([1, 0], len(train))
        model = LogisticRegression(fit_intercept=False, max_iter=1000).fit(mirrored, labels)
        scores[test] = features[test] @ model.coef_[0]
    return scores


def turned_labels(pairs: Sequence[Pair], features: csr_matrix, seed: int) -> dict[str, float]:
    """Recall and precision of the flag, and precision among as many of the lowest scores as labels were turned."""
    turned = np.random.default_rng(seed).random(len(pairs)) < TURNED_SHARE
    seen = features.multiply(np.where(turned, -1.0, 1.0)[:, None]).tocsr()
    scores = held_out_scores(seen, [pair.prompt[0]["content"] for pair in pairs])
    evidence = Evidence(scores={pair.pair_id: score for pair, score in zip(pairs, scores, strict=True)})
    names = {each.pair_id for each in flagged_with(pairs, "likely_mislabelled", evidence)}
    flagged = np.array([pair.pair_id in names for pair in pairs])
    lowest = np.argsort(scores)[: turned.sum()]
    return {
        "accuracy on labels left alone": float((scores[~turned] > 0).mean()),
        "pairs flagged": float(flagged.sum()),
        "recall of the flag": float(flagged[turned].mean()),
        "precision of the flag": float(turned[flagged].mean()),
        "precision among the lowest scores": float(turned[lowest].mean()),
        "precision by chance": float(turned.mean()),
    }


# Both answers bad -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """A completion of an XSTest prompt. `complies` and `unsafe` are its labels."""

    prompt_id: str
    prompt: str
    text: str
    unsafe: bool
    complies: bool

    @property
    def bad(self) -> bool:
        return self.unsafe and self.complies


def read_xstest(folder: Path) -> list[Answered]:
    rows = []
    for name in ("llama2orig", "mistralinstruct"):
        with (folder / f"completions_{name}.csv").open(newline="", encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    return [
        Answered(
            prompt_id=row["id"],
            prompt=row["prompt"],
            text=row["completion"],
            unsafe=row["type"].startswith("contrast_"),
            complies=row["final_label"] == "1_full_compliance",
        )
        for row in rows
    ]


class SingleAnswerCheck:
    """The probability that an answer is bad, from its words and those of the prompt."""

    def __init__(self, answers: Sequence[Answered]) -> None:
        self.prompts = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit([a.prompt for a in answers])
        self.texts = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True).fit([a.text for a in answers])
        self.model = LogisticRegression(max_iter=2000, class_weight="balanced")
        known = self.features([a.prompt for a in answers], [a.text for a in answers])
        self.model.fit(known, [a.bad for a in answers])

    def features(self, prompts: Sequence[str], texts: Sequence[str]) -> csr_matrix:
        asked = [(Message(role="user", content=prompt),) for prompt in prompts]
        refused = [[3.0 * bool(refuses(prompt, text))] for prompt, text in zip(asked, texts, strict=True)]
        return hstack([self.prompts.transform(prompts), self.texts.transform(texts), csr_matrix(refused)]).tocsr()

    def checked(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The pairs with what the check says of each answer."""
        prompts = [next((m["content"] for m in reversed(pair.prompt) if m["role"] == "user"), "") for pair in pairs]
        chosen, rejected = (
            self.model.predict_proba(self.features(prompts, [text_of(answer) for answer in answers]))[:, 1]
            for answers in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
        )
        return [
            replace(pair, chosen_bad=float(one), rejected_bad=float(other))
            for pair, one, other in zip(pairs, chosen, rejected, strict=True)
        ]


def made(kind: str, number: int, prompt: str, first: str, second: str, like: Pair) -> Pair:
    """A pair of two texts."""
    chosen, rejected = ((Message(role="assistant", content=text),) for text in (first, second))
    asked = (Message(role="user", content=prompt),)
    return replace(
        like, pair_id=f"{kind}-{number}", item_id=f"{kind}-{number}", prompt=asked, chosen=chosen, rejected=rejected
    )


def pairs_of(answers: Sequence[Answered], like: Pair) -> list[Pair]:
    """Planted pairs of two bad answers, and decoys: one bad answer beside one that is not, and two good ones."""
    by_prompt: dict[str, list[Answered]] = {}
    for answer in answers:
        by_prompt.setdefault(answer.prompt_id, []).append(answer)
    pairs: list[Pair] = []
    for number, (first, second) in enumerate(by_prompt.values()):
        kind = "decoy, one bad" if first.bad or second.bad else "decoy, none bad"
        pairs.append(made(kind, number, first.prompt, first.text, second.text, like))
        for answer in (first, second):
            sentences = re.split(r"(?<=[.!?:])\s+|\n+", answer.text.strip())
            if answer.bad and len(sentences) > 1:
                half = len(sentences) // 2
                texts = " ".join(sentences[:half]), " ".join(sentences[half:])
                pairs.append(made("planted", number, answer.prompt, *texts, like))
    return pairs


def both_bad(pairs: Sequence[Pair], answers: Sequence[Answered]) -> dict[str, tuple[int, int]]:
    """Of pairs of each kind, how many are flagged and how many there are."""
    flagged: dict[str, list[bool]] = {}
    groups = [answer.prompt_id for answer in answers]
    for train, test in GroupKFold(FOLDS).split(answers, groups=groups):
        check = SingleAnswerCheck([answers[place] for place in train])
        held_out = pairs_of([answers[place] for place in test], pairs[0])
        own = pairs if not flagged else ()  # hh-rlhf's own pairs once, by the first fold's check
        checked = check.checked([*own, *held_out])
        names = {each.pair_id for each in flagged_with(checked, "both_bad")}
        for pair in checked:
            kind = pair.pair_id.rpartition("-")[0] or "hh-rlhf's own"
            flagged.setdefault(kind, []).append(pair.pair_id in names)
    return {kind: (sum(found), len(found)) for kind, found in flagged.items()}


# The tables -----------------------------------------------------------------------------------------------------------


def told(values: Sequence[float]) -> str:
    return f"{np.mean(values):8.3f}   {min(values):.3f} to {max(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("xstest", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    pairs = list(read_pairs(given.file))
    print(f"{len(pairs):,} pairs of {given.file}\n\nas it is")
    for count in count_flags(flag_pairs(lambda: pairs, FlagSettings(), Evidence(refuses=refuses))):
        print(f"  {count.flag:<20} {count.count:>5} of {count.known:,}")
    print(f"\n{PLANTED} copies planted       recall, mean and range over {given.seeds} seeds   false alarms")
    for kind in KINDS:
        found = [planted_duplicates(pairs, kind, seed) for seed in range(given.seeds)]
        print(f"  {kind:<22} {told([recall for recall, _ in found])}   {max(wrong for _, wrong in found)} at most")
    print(f"\na share of {TURNED_SHARE} of the labels turned round")
    features = differences(pairs)
    results = [turned_labels(pairs, features, seed) for seed in range(given.seeds)]
    for name in results[0]:
        print(f"  {name:<35} {told([result[name] for result in results])}")
    print("\nboth answers bad, by a check on single answers")
    told_of = both_bad(pairs, read_xstest(given.xstest))
    for kind, (flagged, total) in sorted(told_of.items()):
        print(f"  {kind:<20} {flagged:>4} of {total:>5} flagged ({flagged / total:.3f})")
    among = sum(flagged for kind, (flagged, _) in told_of.items() if kind != "hh-rlhf's own")
    print(f"  precision among planted pairs and decoys: {told_of['planted'][0] / among:.3f}")


if __name__ == "__main__":
    main()
