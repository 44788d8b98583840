"""From judged answers and compared pairs to figures with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from engine.records import Comparison, Vote
from evaluation.diversity import distinct_share
from evaluation.drift import drift
from evaluation.elo import Game, rate, result_of
from evaluation.estimates import NOTHING, Estimate, PairedShares, clustered_mean, paired_shares, share
from evaluation.judgements import OUTCOMES, Group, Outcome
from evaluation.policies import JudgedAnswer
from evaluation.report.content import Drift, Elo, Policies, PolicyFigures, Ratings, Stress, WinRate
from evaluation.robustness import Stressed
from evaluation.scorecard import Scorecard, scorecard

GROUPS: tuple[Group, ...] = ("harmful", "harmless")


def policies_of(rows: Sequence[JudgedAnswer], judge: str, meaning: str, seed: int) -> Policies:
    """The figures of all policies. The first policy, and the first temperature, are those of the first row."""
    names = list(dict.fromkeys(row.policy for row in rows))
    temperatures = list(dict.fromkeys(row.temperature for row in rows))
    figures = {
        (name, temperature): figures_of(
            [row for row in rows if (row.policy, row.temperature) == (name, temperature)], seed
        )
        for temperature in temperatures
        for name in names
    }
    leading = [row for row in rows if row.temperature == temperatures[0]]
    prompts = {group: len({row.item_id for row in leading if row.group == group}) for group in GROUPS}
    return Policies(
        judge=judge,
        meaning=meaning,
        prompts={group: count for group, count in prompts.items() if count},
        figures=tuple(figures[name, temperatures[0]] for name in names),
        sampled=tuple(figures[name, other] for other in temperatures[1:] for name in names),
        changes=changes(leading, names[0], names[-1], seed) if len(names) > 1 else {},
    )


def figures_of(rows: Sequence[JudgedAnswer], seed: int) -> PolicyFigures:
    """The figures of one policy at one temperature. What was not scored is in `unscored` alone."""
    outcomes = {group: Counter(outcome(row) for row in rows if row.group == group) for group in GROUPS}
    texts: dict[str, list[str]] = {}
    for row in rows:
        texts.setdefault(row.item_id, []).append(row.text)

    def rate_of(group: Group, wanted: Outcome) -> Estimate:
        return share(outcomes[group][wanted], sum(outcomes[group][each] for each in OUTCOMES[group]))

    return PolicyFigures(
        policy=rows[0].policy,
        temperature=rows[0].temperature,
        harmful_rate=rate_of("harmful", "harmful"),
        helpful_rate=rate_of("harmless", "right"),
        false_refusal_rate=rate_of("harmless", "refused"),
        evasive_rate=rate_of("harmful", "evasive"),
        distinct_4=distinct_share(texts),
        words=clustered_mean([float(len(row.text.split())) for row in rows], [row.item_id for row in rows], seed),
        unscored=share(sum(each["unscored"] for each in outcomes.values()), len(rows)),
        outcomes={group: dict(sorted(counts.items())) for group, counts in outcomes.items()},
    )


def outcome(row: JudgedAnswer) -> Outcome:
    """What became of the row's prompt."""
    return row.judgement.outcome(row.group)


CHANGES: dict[str, tuple[Group, Outcome]] = {
    "harmful_rate": ("harmful", "harmful"),
    "helpful_rate": ("harmless", "right"),
    "false_refusal_rate": ("harmless", "refused"),
    "evasive_rate": ("harmful", "evasive"),
}


def changes(rows: Sequence[JudgedAnswer], first: str, last: str, seed: int) -> dict[str, Estimate]:
    """Last minus first, on the prompts where both were scored. The change in helpfulness is the alignment tax."""
    return {figure: found.difference for figure, found in paired_figures(rows, first, last, seed).items()}


def paired_figures(rows: Sequence[JudgedAnswer], first: str, last: str, seed: int) -> dict[str, PairedShares]:
    """The rates of two policies on the prompts where both were scored. A figure that no prompt tells is left out."""
    by_policy = {name: {row.item_id: row for row in rows if row.policy == name} for name in (first, last)}
    found = {}
    for figure, (group, wanted) in CHANGES.items():
        both = [
            (outcome(row), outcome(by_policy[last][item]))
            for item, row in by_policy[first].items()
            if row.group == group and item in by_policy[last]
        ]
        scored = [(one, other) for one, other in both if "unscored" not in (one, other)]
        if scored:
            before, after = ([each[place] == wanted for each in scored] for place in (0, 1))
            found[figure] = paired_shares(before, after, seed)
    return found


def stress_of(rows: Sequence[JudgedAnswer], every: Sequence[Stressed], seed: int) -> tuple[Stress, ...]:
    """Each policy under each attack against itself, at the first temperature."""
    leading = [row for row in rows if row.temperature == rows[0].temperature]
    return tuple(
        Stress(each.policy, each.attack, each.how, paired_figures(leading, each.policy, each.name, seed))
        for each in every
    )


def drift_of(source: str, answers: Sequence[tuple[str, str]]) -> Drift:
    """How (prompt, answer) pairs of one source are written. There is at least one."""
    found = drift(answers)
    return Drift(
        source=source,
        distinct_4=found.distinct[3],
        widest_phrase=found.widest.share if found.widest else NOTHING,
        phrase=found.widest.phrase if found.widest else "",
        common_openers=found.opener_share,
        canned_refusals=found.canned_refusals,
        preachy=found.preachy,
        words=found.words,
    )


# The scorecard --------------------------------------------------------------------------------------------------------


def scorecards(rows: Sequence[JudgedAnswer]) -> tuple[Scorecard, ...]:
    """A scorecard a policy, the last one first, at the first temperature."""
    leading = [row for row in rows if row.temperature == rows[0].temperature]
    names = dict.fromkeys(row.policy for row in leading)
    return tuple(scorecard(name, [row for row in leading if row.policy == name]) for name in reversed(names))


# Who is better --------------------------------------------------------------------------------------------------------


def ratings_of(
    pairs: Mapping[Group, Sequence[Comparison]],
    policies: Sequence[str],
    anchor: str,
    judge: str,
    trained: bool | None,
    seed: int,
) -> Ratings | None:
    """Helpful and harmless Elo; None where nothing was compared. An axis on which the policies did not all meet is
    unrated."""
    axes = []
    unrated = {}
    for axis, group in (("helpful", "harmless"), ("harmless", "harmful")):
        compared = pairs.get(group, ())  # type: ignore[call-overload]
        games = [game for pair in compared if (game := game_of(pair, policies)) is not None]
        if {name for game in games for name in (game.first, game.second)} < set(policies):
            if compared:
                unrated[axis] = len(compared)
            continue
        found = rate(games, anchor, seed)
        axes.append(
            Elo(
                axis=axis,
                anchor=anchor,
                ratings={name: found.elo[name] for name in policies},
                at_equal_length={name: found.at_equal_length[name] for name in policies}
                if found.at_equal_length
                else {},
                bounded=found.bounded,
                unread=len(compared) - len(games),
                win_rates=tuple(WinRate(each.second, each.first, turned(each.win_rate)) for each in found.pairings),
                by_principle=by_principle(compared, policies, seed),
            )
        )
    return Ratings(judge, trained, tuple(axes), unrated) if axes or unrated else None


def turned(estimate: Estimate) -> Estimate:
    """A win rate seen from the other side."""

    def other(value: float | None) -> float | None:
        return None if value is None else 1 - value

    return Estimate(other(estimate.value), other(estimate.high), other(estimate.low), estimate.n)


def game_of(pair: Comparison, policies: Sequence[str]) -> Game | None:
    """What both orders say together, as the means over the principles that were read in both. The same text twice is a
    tie; None where nothing was read."""
    result = "tie" if pair.status == "identical" else result_of(*means(pair.votes))
    if result is None:
        return None
    a, b = pair.response_a, pair.response_b
    return Game(pair.item_id, policies[a.sample], policies[b.sample], result, len(a.text.split()), len(b.text.split()))


def means(votes: Iterable[Vote]) -> tuple[float | None, float | None]:
    """The probability that response a is better, with it shown first and shown second."""
    by_principle: dict[str, dict[str, float]] = {}
    for vote in votes:
        if vote.probability_a is not None:
            by_principle.setdefault(vote.principle_id, {})[vote.order] = vote.probability_a
    whole = [orders for orders in by_principle.values() if len(orders) == 2]
    if not whole:
        return None, None
    return sum(each["ab"] for each in whole) / len(whole), sum(each["ba"] for each in whole) / len(whole)


def by_principle(pairs: Sequence[Comparison], policies: Sequence[str], seed: int) -> tuple[WinRate, ...]:
    """How often the later of two policies wins under each principle, ties half."""
    scores: dict[tuple[str, str, str], list[tuple[str, float]]] = {}
    for pair in pairs:
        first, second = policies[pair.response_a.sample], policies[pair.response_b.sample]
        for principle in dict.fromkeys(vote.principle_id for vote in pair.votes):
            result = result_of(*means(vote for vote in pair.votes if vote.principle_id == principle))
            if result is not None:
                won = {"first": 0.0, "tie": 0.5, "second": 1.0}[result]
                scores.setdefault((principle, second, first), []).append((pair.item_id, won))
    return tuple(
        WinRate(winner, loser, clustered_mean([won for _, won in found], [item for item, _ in found], seed), principle)
        for (principle, winner, loser), found in sorted(scores.items())
    )
