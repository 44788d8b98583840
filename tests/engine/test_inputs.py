"""Prompts come out of a source as they were written: whole, in order, byte for byte."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from constitution.hashing import content_hash
from engine.inputs import PromptSource, check_prompts, read_prompts
from engine.records import Prompt

HH_RLHF = Path(__file__).parents[2].parent / "shared" / "data" / "hh-rlhf" / "harmless-base.jsonl.gz"

AWKWARD = {
    "a colon": "Note: do this: now",
    "braces": "{x} {{ y }} {% z %} {{{",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 ok",
    "right to left": "\u202eשלום\u202c مرحبا",
    "control characters": "a\x00b\x07c\x1b[31m\x7f",
    "odd line ends": "one\rtwo\u2028three\x85four\x0bfive",
    "quotes": 'She said "no", ""twice"" \\n',
    "spaces around": "  \t padded \n ",
    "20,000 characters": "Would you? " * 2000,
    "a marker inside": "He wrote\nHuman: hello\nAssistant: bye",
    "beyond the basic plane": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff",
}
TEXT = st.text(min_size=1).filter(str.strip)


def write_jsonl(path: Path, *rows: Any) -> PromptSource:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PromptSource(path=str(path))


def read(*sources: PromptSource) -> list[Prompt]:
    return list(read_prompts(sources))


def turns(prompt: Prompt) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in prompt.messages]


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD.keys())
def test_awkward_text_survives_every_format(text: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", {"prompt": text})
    write_jsonl(tmp_path / "b.jsonl", {"messages": [{"role": "user", "content": text}]})
    hh = f"\n\nHuman: {text}\n\nAssistant: "
    write_jsonl(tmp_path / "c.jsonl", {"chosen": hh + "x", "rejected": hh + "y"})
    pq.write_table(pa.table({"prompt": [text]}), tmp_path / "d.parquet")
    with (tmp_path / "e.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["prompt"], [text]])
    prompts = read(PromptSource(path=str(tmp_path)))
    assert [turns(prompt) for prompt in prompts] == [[("user", text)]] * 5
    assert {prompt.item_id for prompt in prompts} == {content_hash([{"role": "user", "content": text}])}


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_texts_survive_json_parquet_and_csv(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_jsonl(path / "a.jsonl", *({"messages": [{"role": "user", "content": text}]} for text in texts))
        pq.write_table(
            pa.table({"messages": [[{"role": "user", "content": text}] for text in texts]}), path / "b.parquet"
        )
        with (path / "c.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["messages"], *([text] for text in texts)])
        for name in ("a.jsonl", "b.parquet"):
            assert [turns(p) for p in read(PromptSource(path=str(path / name)))] == [[("user", text)] for text in texts]
        plain = PromptSource(path=str(path / "c.csv"))
        if not any(text.lstrip().startswith("[") or text.startswith("\n\n") for text in texts):
            assert [turns(p) for p in read(plain)] == [[("user", text)] for text in texts]


@given(conversation=st.lists(st.tuples(st.text(), st.text()), max_size=4), last=st.text())
@settings(max_examples=100, deadline=None)
def test_a_transcript_is_parsed_exactly(conversation: list[tuple[str, str]], last: str) -> None:
    said = [text for pair in conversation for text in pair] + [last]
    # A turn that ends with a line break would move the marker after it: the format cannot say such a text.
    said = [text.rstrip("\n").replace("\n\nHuman:", "").replace("\n\nAssistant:", "") for text in said]
    expected = [("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(said)]
    text = "".join(f"\n\n{'Human' if role == 'user' else 'Assistant'}: {content}" for role, content in expected)
    with tempfile.TemporaryDirectory() as folder:
        row = {"chosen": f"{text}\n\nAssistant: yes", "rejected": f"{text}\n\nAssistant: no"}
        (prompt,) = read(write_jsonl(Path(folder) / "hh.jsonl", row))
    assert turns(prompt) == expected
    assert json.loads(prompt.extra) == {"chosen": "yes", "rejected": "no"}


def test_the_index_counts_over_all_sources_and_the_source_names_the_line(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", {"prompt": "a"}, {"prompt": "b"})
    two = write_jsonl(tmp_path / "two.jsonl", {"prompt": "c"})
    prompts = read(one, two)
    assert [prompt.index for prompt in prompts] == [0, 1, 2]
    assert [prompt.source for prompt in prompts] == [f"{one.path}:1", f"{one.path}:2", f"{two.path}:1"]
    assert check_prompts([one, two]).by_source == (2, 1)


def test_a_limit_ends_a_source_before_its_later_faults(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", {"prompt": "a"}, {"prompt": "b"}, {"prompt": 3})
    limited = source.model_copy(update={"limit": 2})
    assert [turns(prompt)[0][1] for prompt in read(limited)] == ["a", "b"]
    assert check_prompts([limited]).prompts == 2


def test_reading_streams(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", {"prompt": "a"}, {"wrong": 1})
    assert turns(next(read_prompts([source]))) == [("user", "a")]


def test_a_system_message_is_added_where_there_is_none(tmp_path: Path) -> None:
    own = [{"role": "system", "content": "own"}, {"role": "user", "content": "q"}]
    source = write_jsonl(
        tmp_path / "p.jsonl", {"messages": own}, {"prompt": "q"}, {"system": "column", "conversations": own[1:]}
    )
    prompts = read(source.model_copy(update={"system": "added"}))
    assert [turns(prompt)[0] for prompt in prompts] == [("system", "own"), ("system", "added"), ("system", "column")]
    assert prompts[2].extra == ""


def test_tags_come_from_a_constant_a_named_column_or_the_usual_one(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", {"prompt": "a", "category": "usual", "risk": 7, "vector": "logic"})
    (usual,) = read(source)
    assert (usual.category, usual.vector, json.loads(usual.extra)) == ("usual", "logic", {"risk": 7})
    (named,) = read(source.model_copy(update={"category_column": "risk", "vector": "none"}))
    assert (named.category, named.vector) == ("7", "none")
    assert json.loads(named.extra) == {"category": "usual", "vector": "logic"}


def test_extra_is_json_whatever_the_columns_hold(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(
        pa.table(
            {
                "prompt": ["a"],
                "score": [float("nan")],
                "when": pa.array([0], pa.timestamp("s")),
                "raw": [b"\xff"],
                "none": pa.array([None], pa.string()),
            }
        ),
        path,
    )
    (prompt,) = read(PromptSource(path=str(path)))
    extra = json.loads(prompt.extra, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert extra == {"score": None, "when": "1970-01-01 00:00:00", "raw": "b'\\xff'"}


def test_a_folder_is_read_in_the_order_of_names_without_what_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".hidden").mkdir()
    write_jsonl(tmp_path / ".hidden" / "0.jsonl", {"prompt": "hidden"})
    (tmp_path / "deep").mkdir()
    write_jsonl(tmp_path / "deep" / "c.jsonl", {"prompt": "3"})
    write_jsonl(tmp_path / "b.jsonl", {"prompt": "1"})
    (tmp_path / "d.txt").write_text("4\n\n5\n")
    folder = read(PromptSource(path=str(tmp_path)))
    assert [turns(prompt)[0][1] for prompt in folder] == ["1", "4", "5", "3"]


def test_a_glob_and_a_url_find_their_files(tmp_path: Path) -> None:
    for name in "ab":
        write_jsonl(tmp_path / f"{name}.jsonl", {"prompt": name})
    assert [turns(p)[0][1] for p in read(PromptSource(path=f"{tmp_path}/*.jsonl"))] == ["a", "b"]
    memory = fsspec.filesystem("memory")
    memory.pipe("/prompts/one.jsonl", b'{"prompt": "from a URL"}\n')
    for path in ("memory://prompts/one.jsonl", "memory://prompts", "memory://prompts/*.jsonl"):
        assert [turns(p)[0][1] for p in read(PromptSource(path=path))] == ["from a URL"]


def test_settings_that_contradict_are_refused() -> None:
    for settings_ in ({"category": "a", "category_column": "b"}, {"format": "text", "column": "x"}, {"limit": 0}):
        with pytest.raises(ValidationError):
            PromptSource.model_validate({"path": "p", **settings_})
    with pytest.raises(ValidationError, match="Extra inputs"):
        PromptSource.model_validate({"path": "p", "fromat": "csv"})


@pytest.mark.skipif(not HH_RLHF.exists(), reason="the hh-rlhf file is not beside the checkout")
def test_the_real_hh_rlhf_file_is_read_whole() -> None:
    sources = [PromptSource(path=str(HH_RLHF))]
    summary = check_prompts(sources)
    assert (summary.prompts, summary.multi_turn, summary.with_empty_turn) == (1391, 1002, 0)
    prompts = read(*sources)
    assert all(prompt.messages[-1]["role"] == prompt.messages[0]["role"] == "user" for prompt in prompts)
    assert len({prompt.item_id for prompt in prompts}) == 1390
    # The one row whose answers part two turns before their end.
    assert len(json.loads(prompts[1019].extra)["chosen"]) == 2
