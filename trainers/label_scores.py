"""Labels held against trained preference models that did not learn from them.

    models of `charter train pm` ─► prompts that each learnt from (`data/train`) ─► mean score over the other models

So several models, each trained with another half of the prompts held out, score what each did not see. What a model
learnt from is only known of a training's own folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.backends.folder import TRAINED
from engine.model import TemplateRefused
from engine.pairs import Pair
from engine.storage import Folder
from prompts.messages import Message
from trainers.pair_rows import TRAIN
from trainers.scoring import Scorer, check_scorer, open_scorer

PAIRS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class LabelScores:
    """`scores` are chosen minus rejected by pair, in logits. `learnt` counts pairs whose prompt every model has learnt
    from, `unscored` those that are too long for the model or that its chat template refuses."""

    scores: Mapping[str, float]
    learnt: int
    unscored: int


def label_scores(
    pairs: Iterable[Pair], models: Sequence[str], tell: Callable[[str], None], where: str = "--preference-model"
) -> LabelScores:
    """Scores of the pairs that have a label, in this process. Raises BadInput where a model is none."""
    labelled = [pair for pair in pairs if pair.status in ("decided", "given")]
    known = {model: _learnt_prompts(model, where) for model in models}
    found: dict[str, list[float]] = {}
    for model, learnt in known.items():
        unseen = [pair for pair in labelled if pair.item_id not in learnt]
        tell(f"{model} scores {len(unseen):,} pairs; {len(labelled) - len(unseen):,} have prompts that it learnt from")
        scorer = open_scorer(model, where=where)
        for start in range(0, len(unseen), PAIRS_AT_ONCE):
            part = unseen[start : start + PAIRS_AT_ONCE]
            for pair, score in zip(part, _scored(part, scorer), strict=True):
                if score is not None:
                    found.setdefault(pair.pair_id, []).append(score)
    scores = {name: sum(values) / len(values) for name, values in found.items()}
    everywhere = frozenset.intersection(*known.values())
    learnt_by_all = sum(pair.item_id in everywhere for pair in labelled)
    return LabelScores(scores, learnt_by_all, len(labelled) - len(scores) - learnt_by_all)


def _learnt_prompts(model: str, where: str) -> frozenset[str]:
    """The item ids of the prompts that a training's model learnt from; none where the folder does not say."""
    folder = check_scorer(model, where)
    training = Folder(str(folder.parent))
    if folder.name != TRAINED or not training.exists(TRAIN):
        return frozenset()
    return frozenset(training.read_table(TRAIN, ["item_id"])["item_id"].to_pylist())


def _scored(pairs: Sequence[Pair], scorer: Scorer) -> list[float | None]:
    """Chosen minus rejected; None where either has no score."""
    sides = [_ids([*pair.prompt, *answer], scorer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    scores = scorer.score_ids(sides)
    both = zip(scores[::2], scores[1::2], strict=True)
    return [None if one is None or other is None else one - other for one, other in both]


def _ids(conversation: Sequence[Message], scorer: Scorer) -> list[int]:
    """Tokens; none where the chat template refuses the conversation, and so no score."""
    try:
        return scorer.encode(conversation)
    except TemplateRefused:
        return []
