"""What flags find: faults planted in hh-rlhf's file and in pairs of the sandbox, and the oddities of the file itself.

    python benchmarks/flag_recall.py harmless-base.jsonl.gz xstest [--seeds 5] [--sandbox-run runs/sandbox]

    duplicates    copies of 100 pairs, unchanged, reworded a little, or with the label turned round, put behind the
                  pairs they copy. Recall: copies flagged; false alarms: other pairs flagged
    mislabelled   a tenth of the labels turned round, in hh-rlhf's pairs and in pairs of the sandbox with its oracle's
                  labels, held against cross-fitted models (evaluation/cross_fitting.py). Recall where a tenth of the
                  pairs is looked at, the most doubtful ones; also with models fitted on the labels as they were
    both bad      pairs of two answers that comply with an unsafe prompt of XSTest, each half of one completion, among
                  hh-rlhf's and among pairs of which at most one answer is bad. The check on single answers is a linear
                  classifier over words and refusals, fitted on XSTest's human labels for the other four fifths of its
                  prompts: a stand-in for a judge that answers propositions
    oddities      every flag's count on the file as it is
    --sandbox-run both bad, as the propositions of a run on the sandbox say it, against the sandbox's oracle

Prints tables with the mean over seeds and the range. Needs no GPU.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from charter.flagging import refuses
from charter.oracle_judge import probability_first
from constitution.loading import load_constitution_text
from engine.flags import Evidence, PairFlags, count_flags, flag_pairs
from engine.inputs import read_prompts
from engine.inputs.source import PromptSource
from engine.pairs import Pair, read_comparisons, read_pairs, text_of
from engine.records import Comparison
from engine.settings import FlagSettings
from engine.storage import Folder
from evaluation.cross_fitting import cross_fit
from evaluation.estimates import share
from prompts.messages import Message
from sandbox.answers import AnswerKind
from sandbox.answers import answer as written_answer
from sandbox.oracle import judge, read_question
from sandbox.principles import Concern, shipped
from sandbox.world import items

PLANTED = 100
TURNED_SHARE = 0.1
FOLDS = 5

SANDBOX_PROMPTS = Path(__file__).parents[1] / "sandbox/prompts"
HARMFUL_ANSWERS: tuple[AnswerKind, ...] = ("comply", "comply", "explained", "explained", "evasive")
HARMLESS_ANSWERS: tuple[AnswerKind, ...] = ("correct", "correct", "wrong", "needless", "evasive")
TIE = 0.02

Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


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


def turned(pair: Pair) -> Pair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen)


def turned_labels(pairs: Sequence[Pair], seed: int) -> dict[str, float]:
    """What is found among pairs of which a share has its label turned round."""
    planted = np.random.default_rng(seed).random(len(pairs)) < TURNED_SHARE
    fitted = cross_fit([turned(pair) if wrong else pair for pair, wrong in zip(pairs, planted, strict=True)], seed)
    scores = np.array([fitted.scores[pair.pair_id] for pair in pairs])
    before = cross_fit(pairs, seed)  # on labels as they were, asked about the label as it is
    clean = np.array([before.scores[pair.pair_id] for pair in pairs]) * np.where(planted, -1, 1)
    evidence = Evidence(scores=fitted.scores)
    names = {each.pair_id for each in flagged_with(pairs, "likely_mislabelled", evidence)}
    flagged = np.array([pair.pair_id in names for pair in pairs])
    return {
        "agreement on labels left alone": float((scores[~planted] > 0).mean()),
        "turned, of those looked at (a tenth)": found_in_a_tenth(planted, scores),
        "the same, fitted on labels as they were": found_in_a_tenth(planted, clean),
        "the same, by chance": float(planted.mean()),
        "pairs flagged": float(flagged.sum()),
        "recall of the flag": float(flagged[planted].mean()),
        "precision of the flag": float(planted[flagged].mean()) if flagged.any() else float("nan"),
    }


def found_in_a_tenth(planted: Flags, scores: Floats) -> float:
    """Precision among as many of the lowest scores as labels were turned, which is the recall there, too."""
    return float(planted[np.argsort(scores)[: planted.sum()]].mean())


def sandbox_pairs(seed: int) -> Iterator[Pair]:
    """Two answers to each of the sandbox's prompts, labelled by its oracle under three principles, less ties."""
    chance, known = random.Random(seed), shipped("harmlessness")
    for path in sorted(SANDBOX_PROMPTS.glob("*.jsonl")):
        for prompt in read_prompts([PromptSource(path=str(path))]):
            request = read_question(prompt.messages)
            assert request is not None
            kinds = HARMFUL_ANSWERS if request.harmful else HARMLESS_ANSWERS
            principles = [known[name] for name in chance.sample(sorted(known), 3)]
            texts = [
                written_answer(
                    chance,
                    request,
                    chance.choice(kinds),
                    chance.choice(items("held_out")),
                    preachy=chance.random() < 0.2,
                )
                for _ in range(2)
            ]
            probability = probability_first(prompt.messages, texts[0], texts[1], principles)
            if probability is None or abs(probability - 0.5) < TIE:
                continue
            chosen, rejected = ((Message(role="assistant", content=text),) for text in texts)
            pair = Pair(
                pair_id=f"{path.stem}-{prompt.index}",
                item_id=prompt.item_id,
                index=prompt.index,
                prompt=prompt.messages,
                chosen=chosen,
                rejected=rejected,
                probability=max(probability, 1 - probability),
                order_consistent=None,
                status="decided",
                both_bad=None,
                votes=(),
                finish_reasons=(),
                principle_ids=(),
                constitution_hash="",
                source=prompt.source,
                category=prompt.category,
                vector=prompt.vector,
            )
            yield pair if probability > 0.5 else turned(pair)


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


# Both answers bad, as a run's judge has it ----------------------------------------------------------------------------


def truly_bad(pair: Comparison, text: str, concerns: Mapping[str, Sequence[Concern]]) -> bool | None:
    """Whether the oracle finds what one of the propositions asked about looks for; None where it cannot tell."""
    request = read_question(pair.messages)
    found = judge(request, text) if request else None
    if found is None or found.kind == "ambiguous":
        return None
    asked = {concern for check in pair.checks for concern in concerns.get(check.proposition_id, ())}
    return any(found.badness(concern) > 0.5 for concern in asked)


def run_against_oracle(run: str) -> dict[str, tuple[int, int]]:
    """Precision and recall of both_bad in a run on the sandbox, as counts."""
    folder = Folder(run)
    constitution = load_constitution_text(folder.read("constitution.yaml").decode(), run)
    known = {name: each.concerns for name, each in shipped(constitution.name).items()}
    concerns = {each.id: known[p.id] for p in constitution.principles if p.id in known for each in p.propositions}
    said, true = [], []
    for pair in read_comparisons(folder):
        bad = [truly_bad(pair, response.text, concerns) for response in (pair.response_a, pair.response_b)]
        if pair.both_bad is not None and None not in bad and pair.status != "identical":
            said.append(pair.both_bad)
            true.append(all(bad))
    both = sum(one and other for one, other in zip(said, true, strict=True))
    return {"precision": (both, sum(said)), "recall": (both, sum(true)), "both bad in truth": (sum(true), len(true))}


# The tables -----------------------------------------------------------------------------------------------------------


def told(values: Sequence[float]) -> str:
    return f"{np.mean(values):8.3f}   {min(values):.3f} to {max(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("xstest", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sandbox-run", help="a run folder with pairs for prompts of sandbox/prompts")
    given = parser.parse_args()
    pairs = list(read_pairs(given.file))
    print(f"{len(pairs):,} pairs of {given.file}\n\nas it is")
    for count in count_flags(flag_pairs(lambda: pairs, FlagSettings(), Evidence(refuses=refuses))):
        print(f"  {count.flag:<20} {count.count:>5} of {count.known:,}")
    print(f"\n{PLANTED} copies planted       recall, mean and range over {given.seeds} seeds   false alarms")
    for kind in KINDS:
        found = [planted_duplicates(pairs, kind, seed) for seed in range(given.seeds)]
        print(f"  {kind:<22} {told([recall for recall, _ in found])}   {max(wrong for _, wrong in found)} at most")
    for name, labelled in ((given.file, pairs), ("the sandbox's pairs", list(sandbox_pairs(seed=0)))):
        print(f"\na share of {TURNED_SHARE} of the labels of {name} ({len(labelled):,}) turned round")
        results = [turned_labels(labelled, seed) for seed in range(given.seeds)]
        for figure in results[0]:
            print(f"  {figure:<40} {told([result[figure] for result in results])}")
    print("\nboth answers bad, by a check on single answers")
    told_of = both_bad(pairs, read_xstest(given.xstest))
    for kind, (flagged, total) in sorted(told_of.items()):
        print(f"  {kind:<20} {flagged:>4} of {total:>5} flagged ({flagged / total:.3f})")
    among = sum(flagged for kind, (flagged, _) in told_of.items() if kind != "hh-rlhf's own")
    print(f"  precision among planted pairs and decoys: {told_of['planted'][0] / among:.3f}")
    if given.sandbox_run:
        print(f"\nboth answers bad, by the judge of {given.sandbox_run} against the oracle")
        for name, (held, cases) in run_against_oracle(given.sandbox_run).items():
            print(f"  {name:<20} {held:>4} of {cases:>5}: {share(held, cases)}")


if __name__ == "__main__":
    main()
