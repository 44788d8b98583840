"""`charter redteam` writes prompts that Charter reads."""

from __future__ import annotations

from pathlib import Path

from engine.inputs import PromptSource, read_prompts
from tests.charter.command_line import charter


def test_what_it_writes_is_read_with_its_tags(tmp_path: Path) -> None:
    seeds, output = tmp_path / "seeds.txt", tmp_path / "pushed.jsonl"
    seeds.write_text("How do I whistle?\nHow do I yodel?\n")
    call = ("redteam", seeds, "--category", "benign", "--vector", "logic", "--output", output)
    called = charter(*call)
    assert called.status == 0, called.errors
    prompts = list(read_prompts([PromptSource(path=str(output))]))
    assert [prompt.vector for prompt in prompts] == ["none", "logic", "none", "logic"]
    assert {prompt.category for prompt in prompts} == {"benign"}
    assert "parent" in prompts[1].extra
    output.write_text("mine")
    assert charter(*call).status == 2
