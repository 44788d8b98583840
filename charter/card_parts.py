"""What the cards of runs, exports and models share: the hub's header, tables, a sample, and the standing warnings.

Names and texts of users pass through `cell` or stand in a block of JSON, so that none can break a card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from charter.printing import printable

UNKNOWN_LICENCE = "unknown"
MOST_LETTERS = 1_000
"""Of each text in a sample."""
TAGS = ("constitutional-ai", "charter", "not-for-all-audiences")
WARNING = (
    "**Content warning.** The prompts may ask for harm, and the answers are a model's: they may be offensive, false or "
    "harmful, the rejected ones above all."
)
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def cell(text: object) -> str:
    """A text of a user's inside a line or a table of Markdown, as text and nothing else."""
    return MARKUP.sub(r"\\\1", printable(str(text).replace("\n", " ")))


def data_header(name: str, licence: str | None, rows: int, configs: Sequence[Mapping[str, Any]]) -> str:
    """The YAML head of a data set's card. With its `configs`, the hub's viewer and `load_dataset` find the files."""
    from huggingface_hub import DatasetCardData

    size = next((size for most, size in SIZES if rows < most), "n>1M")
    data = DatasetCardData(
        pretty_name=name,
        license=licence or UNKNOWN_LICENCE,
        tags=list(TAGS),
        task_categories=["text-generation"],
        size_categories=[size],
        configs=[dict(config) for config in configs] or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def model_header(name: str, licence: str | None, base_model: str, pipeline: str) -> str:
    """The YAML head of a model's card."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        model_name=name,
        license=licence or UNKNOWN_LICENCE,
        tags=list(TAGS),
        library_name="transformers",
        pipeline_tag=pipeline,
        base_model=base_model,
    )
    return f"---\n{data.to_yaml()}\n---"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A Markdown table and the empty line after it. Cells are taken as they are."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(str(each) for each in row)} |"
    yield ""


def counted(counts: Mapping[str, int]) -> str:
    """`3 tie, 1 undecided`, or `none`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count) or "none"


def sample_block(row: Mapping[str, Any]) -> Iterator[str]:
    """One row as JSON, folded away, long texts cut with a note."""
    text = printable(json.dumps(_shortened(row), indent=2, ensure_ascii=False))
    yield "<details><summary>One row, which may be offensive</summary>"
    yield ""
    yield "```json"
    yield text
    yield "```"
    yield ""
    yield "</details>"
    yield ""


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        rest = len(value) - MOST_LETTERS
        return value if rest <= 0 else f"{value[:MOST_LETTERS]} [{rest:,} characters more]"
    if isinstance(value, Mapping):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(each) for each in value]
    return value


def licence_lines(licence: str | None, parts: Mapping[str, str]) -> Iterator[str]:
    """What is known of the licences. `parts` names what the thing is made of, and where its terms are."""
    yield "## Licence"
    yield ""
    stated = cell(licence) if licence else "not stated; whoever publishes it says so, with `--license`"
    yield from table(["of", "licence"], [("the whole", stated), *((cell(name), said) for name, said in parts.items())])


LIMITS = (
    "The labels are a model's judgement under the constitution, not people's. `probability` says how sure it was, not "
    "how right.",
    "A constitution, a judge and a prompt set each leave things out: what the prompts do not ask about was not judged.",
    "Pairs of two bad answers are in the data unless a policy says otherwise: `chosen` is the better one, not a good "
    "one.",
    "Nothing here shows that a model trained on it is safe. Evaluate it on prompts of your own use.",
)


def limit_lines(limits: Sequence[str] = LIMITS) -> Iterator[str]:
    """What a reader must not conclude."""
    yield "## Limits"
    yield ""
    yield from (f"- {limit}" for limit in limits)
