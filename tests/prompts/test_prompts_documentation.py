"""docs/prompts.md says what the code does: its tables, its examples and its word counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prompts.few_shot_files import read_few_shots
from prompts.messages import Message
from prompts.rendering import PromptSet, Rendered
from prompts.template_files import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")

HELLO: list[Message] = [{"role": "user", "content": "Hello"}]


def words(cell: str) -> frozenset[str]:
    return frozenset(re.findall(r"`(\w+)`", cell))


def test_the_template_table_is_in_step() -> None:
    rows = [line.strip().strip("|").split("|") for line in PAGE.splitlines() if re.match(r"\| `\w+` \|", line)]
    told = {cells[0].strip(" `"): tuple(words(cell) for cell in cells[2:]) for cells in rows if len(cells) == 5}
    assert told == {name: (kind.required, kind.optional, kind.settings) for name, kind in KINDS.items()}


def test_the_few_shot_examples_can_be_copied(tmp_path: Path) -> None:
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        name = re.match(r"# (\w+\.yaml)", text)
        assert name is not None
        (tmp_path / name[1]).write_text(text)
    few_shots = read_few_shots(tmp_path)
    assert [len(kind) for kind in (few_shots.critique_revise, few_shots.compare, few_shots.proposition)] == [1, 1, 1]


def test_the_python_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    asked = names["asked"]
    assert isinstance(asked, Rendered)
    assert asked.template == "critique"


@pytest.mark.parametrize(
    ("file", "told"), [("critique_revise", 740), ("compare", 440), ("reason", 720), ("proposition", 220)]
)
def test_the_word_counts_hold(file: str, told: int) -> None:
    assert re.search(rf"`{file}\.yaml` \|.*\| {told}\b", PAGE)

    def ask(prompts: PromptSet) -> Rendered:
        if file == "critique_revise":
            return prompts.revise(HELLO, "Hi.", "It is short.", "Mend it.", critique_request="Judge it.")
        if file == "proposition":
            return prompts.proposition(HELLO, "Hi.", "Is it kind?")
        return (prompts.compare if file == "compare" else prompts.reason)(HELLO, "Hi.", "Ho.", "Which?")

    def count(prompts: PromptSet) -> int:
        return sum(len(message["content"].split()) for message in ask(prompts).messages)

    assert count(PromptSet.load()) - count(PromptSet.load(use_few_shots=False)) == pytest.approx(told, abs=10)
