"""One row with everything behind it, for `preview`. Model output is shown as text and nothing else: control
characters and bidirectional marks are made visible, and no markup is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from charter.printing import printable as printable
from charter.trial import Exchange, TrialRow
from engine.model import Completion
from engine.records import Comparison, RevisedRow
from prompts.messages import Message

MOST_LETTERS = 4_000
"""Of a message's text; a longer one loses its middle unless everything is asked for."""
FEWEST_FOLDED = 3
"""Messages shown before; fewer are shown again."""


@dataclass
class Shown:
    """What was shown already: beginnings of conversations, and where. Few-shots begin every question of a step."""

    places: dict[tuple[tuple[str, str], ...], str] = field(default_factory=dict)

    def fold(self, messages: Sequence[Message], place: str) -> tuple[int, str]:
        """How many messages at the start were shown before, and where; then remembers these."""
        said = tuple((message["role"], message["content"]) for message in messages)
        beginnings = [said[:length] for length in range(len(said), FEWEST_FOLDED - 1, -1)]
        known = next((each for each in beginnings if each in self.places), ())
        where = self.places.get(known, "")
        for each in beginnings:
            self.places.setdefault(each, place)
        return len(known), where


def show_trial(row: TrialRow, shown: Shown | None = None, console: Console | None = None) -> None:
    """The exchanges in the order they were made, then what the stage made of them. With `shown`, what was shown before
    and the middle of long texts are left out."""
    console = console or Console()
    source = printable(row.prompt.source or row.prompt.item_id)
    console.print(Rule(Text(f"{row.stage}  {source}")))
    for number, exchange in enumerate(row.exchanges, start=1):
        _show_exchange(exchange, number, f"{row.stage} {source}", shown, console)
    if row.error is not None:
        console.print(Text(f"set aside: {type(row.error).__name__}: {printable(str(row.error))}", style="bold red"))
    for made in row.rows:
        if isinstance(made, RevisedRow):
            _show_revised(made, console)
        else:
            _show_comparison(made, console)


def shortened(text: str, *, full: bool) -> str:
    """The text, safe for a terminal; without its middle where it is long, unless `full`."""
    half = MOST_LETTERS // 2
    if full or len(text) <= MOST_LETTERS:
        return printable(text)
    left_out = len(text) - 2 * half
    return f"{printable(text[:half])} [{left_out:,} characters not shown; --full shows them] {printable(text[-half:])}"


def _show_exchange(exchange: Exchange, number: int, place: str, shown: Shown | None, console: Console) -> None:
    sent = Text()
    folded, where = shown.fold(exchange.messages, f"sent {number} of {place}") if shown else (0, "")
    if folded:
        sent.append(f"[the first {folded} messages are those of {where}]\n", style="italic")
    for message in exchange.messages[folded:]:
        sent.append(f"{message['role']}: ", style="bold")
        sent.append(shortened(message["content"], full=shown is None) + "\n")
    console.print(Panel(sent, title=f"sent {number}", title_align="left", style="dim"))
    answer = exchange.answer
    if isinstance(answer, Completion):
        console.print(Panel(Text(printable(answer.text)), title=f"answer {number}", title_align="left"))
        console.print(
            Text(
                f"  {answer.prompt_tokens} prompt tokens, {answer.completion_tokens} generated, {answer.finish_reason}"
            )
        )
        return
    shares = zip(exchange.options, answer.probabilities, strict=True)
    verdict = ", ".join(f"{option} {share:.3f}" for option, share in shares)
    console.print(Text(f"  verdict {number}: {verdict}; the options hold {answer.mass:.3f} of the probability"))


def _show_revised(row: RevisedRow, console: Console) -> None:
    console.print(Panel(Text(printable(row.response.text)), title="first answer", title_align="left"))
    for revision in row.revisions:
        how = "changed" if revision.changed else "unchanged"
        title = f"round {revision.round}, {revision.principle_id}, {how}"
        console.print(Panel(Text(printable(revision.text)), title=title, title_align="left"))
    if row.flags:
        console.print(Text(f"  flags: {', '.join(row.flags)}"))


def _show_comparison(row: Comparison, console: Console) -> None:
    for name, response in (("a", row.response_a), ("b", row.response_b)):
        console.print(Panel(Text(printable(response.text)), title=f"response {name}", title_align="left"))
    for vote in row.votes:
        said = vote.fault if vote.probability_a is None else f"P(a better) {vote.probability_a:.3f}"
        console.print(Text(f"  {vote.principle_id}, shown as {vote.order}: {said}"))
    for check in row.checks:
        said = check.fault if check.bad is None else f"P(bad) {check.bad:.3f}"
        console.print(Text(f"  {check.proposition_id} on response {check.response}: {said}"))
    label = "no label" if row.probability_a is None else f"P(a better) {row.probability_a:.3f}"
    both = {None: "not known", True: "yes", False: "no"}[row.both_bad]
    console.print(Text(f"  {row.status}: {label}; both bad: {both}", style="bold"))
