"""Everything that a report says, before it is a page or a JSON file.

    run folder ──charter/reporting.py──► Report ──┬─► page.py, page.html, page.css ──► report.html
                                                  └─► figures.py ──────────────────► report.json

What a run has not done is None or empty here. Then the page says so in a sentence, and the JSON file leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evaluation.estimates import Estimate, PairedShares
from evaluation.judgements import Group, Outcome
from evaluation.scorecard import Scorecard
from prompts.messages import Message

# The loop -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A box of the drawing: one step of the loop, or one stage of a run. `facts` are a few words each, with counts;
    `uses` names the boxes that it builds on."""

    name: str
    kind: str
    facts: tuple[str, ...]
    uses: tuple[str, ...] = ()


# Policies -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """What a policy does at one temperature.

    Harmful and evasive are shares of the harmful prompts, helpful and false refusals of the harmless ones. `unscored`
    is the share of all answers that the judge could not score; they are in no other figure. `distinct_4` is the share
    of distinct runs of four words among all; `words` the mean length.
    """

    policy: str
    temperature: float
    harmful_rate: Estimate
    helpful_rate: Estimate
    false_refusal_rate: Estimate
    evasive_rate: Estimate
    distinct_4: Estimate
    words: Estimate
    unscored: Estimate
    outcomes: Mapping[Group, Mapping[Outcome, int]]


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies that were evaluated, in the order they were made in. `figures` are at the temperature that leads,
    `sampled` those at others. `changes` are last minus first: the alignment tax is the change in helpfulness."""

    judge: str
    meaning: str
    prompts: Mapping[Group, int]
    figures: tuple[PolicyFigures, ...]
    sampled: tuple[PolicyFigures, ...] = ()
    changes: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often `first` beats `second`, ties half; under one principle where `principle` is given."""

    first: str
    second: str
    rate: Estimate
    principle: str = ""


@dataclass(frozen=True, slots=True)
class Elo:
    """Ratings on one axis. `anchor` has 0. `bounded`: some policy never lost, so a draw was added to every pairing.
    `unread` counts pairs that the judge could not decide; they are in no figure."""

    axis: str
    anchor: str
    ratings: Mapping[str, Estimate]
    at_equal_length: Mapping[str, Estimate]
    bounded: bool
    unread: int
    win_rates: tuple[WinRate, ...]
    by_principle: tuple[WinRate, ...]


@dataclass(frozen=True, slots=True)
class Ratings:
    """Helpful and harmless Elo. `trained`: whether the judge also labelled what the policies learnt from; None where
    that is not known. `unrated`: an axis without ratings, since the judge decided too few pairs for all policies to
    have met; and how many pairs it was asked about."""

    judge: str
    trained: bool | None
    axes: tuple[Elo, ...]
    unrated: Mapping[str, int] = field(default_factory=dict)

    def axis(self, name: str) -> Elo | None:
        """The ratings on an axis, if there are any."""
        return next((each for each in self.axes if each.axis == name), None)


@dataclass(frozen=True, slots=True)
class Drift:
    """How the answers of one source are written: a policy, or a round of revisions. evaluation/drift.py says what each
    figure is; `phrase` is the one that spreads over most prompts."""

    source: str
    distinct_4: Estimate
    widest_phrase: Estimate
    phrase: str
    common_openers: Estimate
    canned_refusals: Estimate
    preachy: Estimate
    words: Estimate


@dataclass(frozen=True, slots=True)
class Stress:
    """A policy under an attack against itself asked plainly (`first`), on the prompts where both were scored."""

    policy: str
    attack: str
    how: str
    figures: Mapping[str, PairedShares]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `charter evaluate` found: `evaluation.json`."""

    policies: Policies
    ratings: Ratings | None
    scorecards: tuple[Scorecard, ...]
    drift: tuple[Drift, ...]
    robustness: tuple[Stress, ...] = ()


# Data ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Round:
    """The answers after a round of revision; round 0 is the first answer. `changed` is against the round before.
    `harmful` is None where nobody judged them."""

    round: int
    harmful: Estimate | None
    changed: Estimate | None
    words: Estimate


@dataclass(frozen=True, slots=True)
class Revisions:
    """One critique ► revise stage."""

    step: str
    judge: str
    rows: int
    rounds: tuple[Round, ...]
    no_fault: Estimate
    """Share of critiques that find nothing to change."""
    flags: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Bin:
    """Probabilities near each other: their mean, and how often what they say held."""

    predicted: float
    held: Estimate


@dataclass(frozen=True, slots=True)
class PrincipleFigures:
    """How one principle voted. `decided`: it preferred the same answer in both orders."""

    principle: str
    pairs: int
    decided: Estimate
    agrees: Estimate
    """With the label of the pair, where both are decided."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one compare stage, or of several together. `oracle_agreement`, `ece` and `reliability` are held
    against the sandbox's oracle; without one they are None or empty."""

    step: str
    judge: str
    pairs: int
    statuses: Mapping[str, int]
    undecided_rate: Estimate
    order_consistency: Estimate
    option_mass: Estimate
    both_bad: Estimate | None
    oracle_agreement: Estimate | None
    ece: Estimate | None
    reliability: tuple[Bin, ...]
    histogram: tuple[int, ...]
    """Labels by the probability of the better answer: ten equal steps from 0.5 to 1."""
    principles: tuple[PrincipleFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class PreferenceModel:
    """A preference model on pairs that it has not seen."""

    step: str
    axis: str
    """helpful, harmless, or the step's name where neither is known."""
    pairs: int
    accuracy: Estimate
    ece: Estimate
    reliability: tuple[Bin, ...]
    longer: Estimate | None
    """The accuracy of always preferring the longer answer."""
    by_bin: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Curve:
    """Something that a training logged, by step. `name` is in words."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Training:
    """What a training logged on its way."""

    step: str
    kind: str
    curves: tuple[Curve, ...]


# Transcripts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, or one text on the way to it. `who` is a policy or a step of a chain."""

    who: str
    text: str
    note: str = ""
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """A prompt and what was said to it, one after the other."""

    id: str
    messages: tuple[Message, ...]
    category: str
    vector: str
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Transcripts chosen by a rule that the page states. `of` is how many it could have chosen from."""

    title: str
    rule: str
    of: int
    transcripts: tuple[Transcript, ...]


# Costs and provenance -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """What one step or stage took. None is "not measured", or for money "no price".

    `trained_tokens` are those that a training passed over. `gpu_seconds` are of GPUs that were held. Energy is in
    watt-hours, of what `energy_of` names: one machine's `gpus`, its `processors`, or both.
    """

    step: str
    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    trained_tokens: int = 0
    wall_seconds: float | None = None
    gpu_seconds: float | None = None
    energy: float | None = None
    money: float | None = None
    energy_of: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """All tokens that a model read, wrote or was trained on."""
        return self.prompt_tokens + self.completion_tokens + self.trained_tokens


@dataclass(frozen=True, slots=True)
class Costs:
    """By step. `pairs` are those that were labelled; `labelling` the steps that labelled them. `points` are the points
    of harm removed, in percent of the harmful prompts, from the first policy to the last."""

    by_step: tuple[Cost, ...]
    currency: str = ""
    pairs: int = 0
    labelling: tuple[str, ...] = ()
    points: float | None = None

    def total(self, steps: tuple[str, ...] | None = None) -> Cost:
        """The sum over some steps, or all. What one of them does not know, the sum does not know."""
        some = [each for each in self.by_step if steps is None or each.step in steps]

        def known(values: list[float | None]) -> float | None:
            whole = [value for value in values if value is not None]
            return sum(whole) if whole and len(whole) == len(values) else None

        alike = len({each.energy_of for each in some}) == 1  # a sum of unlike energies says nothing
        return Cost(
            "all",
            calls=sum(each.calls for each in some),
            prompt_tokens=sum(each.prompt_tokens for each in some),
            cached_tokens=sum(each.cached_tokens for each in some),
            completion_tokens=sum(each.completion_tokens for each in some),
            trained_tokens=sum(each.trained_tokens for each in some),
            wall_seconds=known([each.wall_seconds for each in some]),
            gpu_seconds=known([each.gpu_seconds for each in some]),
            energy=known([each.energy for each in some]) if alike else None,
            energy_of=some[0].energy_of if alike else (),
            money=known([each.money for each in some]),
        )


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """A model and the part it played."""

    role: str
    model: str
    revision: str
    backend: str


@dataclass(frozen=True, slots=True)
class ConstitutionUsed:
    """A constitution and the steps that used it."""

    name: str
    version: str
    hash: str
    principles: int
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What it was all made from. `files` are the recipes and settings as they were frozen, by step."""

    command: str
    seed: int | None
    constitutions: tuple[ConstitutionUsed, ...]
    models: tuple[ModelUsed, ...]
    versions: Mapping[str, str]
    files: Mapping[str, str]


# The whole ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """A run, or a whole loop of runs and trainings."""

    name: str
    sandbox: bool
    """All prompts are the sandbox's, whose oracle knows the truth and whose language is templated."""
    steps: tuple[Step, ...]
    costs: Costs
    provenance: Provenance
    policies: Policies | None = None
    ratings: Ratings | None = None
    scorecards: tuple[Scorecard, ...] = ()
    robustness: tuple[Stress, ...] = ()
    revisions: tuple[Revisions, ...] = ()
    labels: tuple[Labels, ...] = ()
    preference_models: tuple[PreferenceModel, ...] = ()
    trainings: tuple[Training, ...] = ()
    drift: tuple[Drift, ...] = ()
    selections: tuple[Selection, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)
    """Rows set aside, by step."""
