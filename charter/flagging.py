"""The flags of a run folder, a pair folder or a foreign file: read where they are stored, found where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.yaml_files import load_yaml_text
from engine.flags import MEANINGS, Evidence, PairFlags, flag_pairs, read_flags, write_flags
from engine.inputs import PromptSource
from engine.inputs.rows import read_rows
from engine.inputs.source import find_inputs
from engine.pairs import COMPARE_STAGE, is_pair_folder, is_run_folder, read_pairs
from engine.records import Comparison
from engine.settings import FlagSettings
from engine.storage import Folder, StageStore
from evaluation.refusals import detect_refusal
from prompts.messages import Message


@dataclass(frozen=True, slots=True)
class Doubts:
    """What labels are held against, one of three at most: scores in a file, preference models, or one fitted on the
    other pairs. `mislabelled_below` goes before the run's own setting."""

    cross_fit: bool = False
    preference_models: tuple[str, ...] = ()
    scores: str | None = None
    mislabelled_below: float | None = None

    @property
    def told(self) -> str:
        """For a manifest; empty where labels are held against nothing."""
        return "other pairs" if self.cross_fit else ", ".join(self.preference_models) or self.scores or ""

    def check(self) -> None:
        """Raises BadInput where several are given."""
        given = (
            ("--cross-fit", self.cross_fit),
            ("--preference-model", self.preference_models),
            ("--scores", self.scores),
        )
        named = [name for name, value in given if value]
        if len(named) > 1:
            raise BadInput(Fault(f"it does not go with {named[0]}", where=named[1], hint="hold labels against one"))


def doubted_flags(
    where: Folder, doubts: Doubts, tell: Callable[[str], None], split: str | None = None
) -> tuple[FlagSettings, list[PairFlags]]:
    """The settings of a run, or ours, and the flags of every pair under them. `tell` hears what labels are held
    against. Raises BadInput."""
    doubts.check()
    settings = own = flag_settings(where)
    if doubts.mislabelled_below is not None:
        settings = own.model_copy(update={"mislabelled_below": doubts.mislabelled_below})
    scores = _scores(where, doubts, tell, split)
    return settings, flags_of(where, settings, scores=scores, split=split, store=settings == own)


def _scores(
    where: Folder, doubts: Doubts, tell: Callable[[str], None], split: str | None
) -> Mapping[str, float] | None:
    if doubts.scores:
        return read_scores(doubts.scores)
    if doubts.preference_models:
        from trainers.label_scores import label_scores

        found = label_scores(read_pairs(where.location, split=split), doubts.preference_models, tell)
        agreeing = sum(score > 0 for score in found.scores.values())
        left = f"; {found.learnt:,} learnt by every model, {found.unscored:,} too long or refused by its template"
        tell(f"agrees with {agreeing:,} of {len(found.scores):,} labels" + left * bool(found.learnt + found.unscored))
        return found.scores
    if doubts.cross_fit:
        from evaluation.cross_fitting import cross_fit

        tell("fitting preference models over words, each on four fifths of the pairs")
        fitted = cross_fit(read_pairs(where.location, split=split))
        tell(f"they agree with {fitted.agreement} of the labels that they did not see")
        return fitted.scores
    return None


def flags_of(
    where: Folder,
    settings: FlagSettings,
    *,
    scores: Mapping[str, float] | None = None,
    split: str | None = None,
    fresh: bool = False,
    store: bool = True,
) -> list[PairFlags]:
    """The flags of every pair, in the order of `read_pairs`.

    Those stored in a finished run or in a pair folder are taken where the same settings made them, unless `fresh` or
    `scores` ask for new ones; new ones are stored there, unless `store` is false. Those of other files are found again
    each time.
    """
    keeps = is_pair_folder(where) or (is_run_folder(where) and _has_ended(where))
    stored = read_flags(where, settings) if keeps and not fresh and scores is None else None
    if stored is not None:
        return stored
    evidence = Evidence(refuses=refuses, scores=scores or {})
    found = flag_pairs(lambda: read_pairs(where.location, split=split), settings, evidence)
    return write_flags(where, found, settings) if keeps and store else list(found)


def refuses(prompt: tuple[Message, ...], answer: str) -> bool | None:
    """Whether an answer refuses in full; None where that cannot be read, as in other languages than English."""
    asked = next((message["content"] for message in reversed(prompt) if message["role"] == "user"), "")
    refusal = detect_refusal(asked, answer)
    return None if refusal is None else refusal.extent == "full"


def _has_ended(run: Folder) -> bool:
    """Whether the run's pairs are all there: flags of some would be those of other neighbours."""
    return StageStore(run, COMPARE_STAGE, Comparison).is_sealed


def read_scores(path: str) -> dict[str, float]:
    """A preference model's scores by pair, chosen minus rejected: rows with `pair_id`, and `score` or both of
    `score_chosen` and `score_rejected`. Raises BadInput."""
    scores: dict[str, float] = {}
    source = PromptSource(path=path)
    for item in find_inputs(source):
        for row in read_rows(item, source):
            if isinstance(row, Fault):
                raise BadInput(row)
            values = row.values
            score, chosen, rejected = (values.get(name) for name in ("score", "score_chosen", "score_rejected"))
            if isinstance(chosen, int | float) and isinstance(rejected, int | float):
                score = chosen - rejected
            if not isinstance(values.get("pair_id"), str) or not isinstance(score, int | float):
                hint = "a row has pair_id, and score or both of score_chosen and score_rejected"
                raise BadInput(row.fault(f"there is no score in the columns {', '.join(values)}", hint))
            scores[values["pair_id"]] = float(score)
    return scores


def flag_settings(where: Folder) -> FlagSettings:
    """The settings that a run was started with; ours for everything else."""
    from charter.recipe import Recipe  # which needs all that a run needs

    if not is_run_folder(where):
        return FlagSettings()
    name = f"{where.location}/recipe.yaml"
    return load_yaml_text(where.read("recipe.yaml").decode(), Recipe, name).flags


def check_flags(where: str, names: Iterable[str]) -> None:
    """Raises BadInput where there is no such flag."""
    for name in names:
        if name not in MEANINGS:
            raise BadInput(Fault(f"there is no flag '{name}'", where=where, hint=did_you_mean(name, MEANINGS)))
