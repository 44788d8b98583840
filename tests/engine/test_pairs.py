"""Every form in which a pair is stored is the same pair, and what cannot be one says why."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from constitution.faults import BadInput, Fault
from engine.pairs import Pair, pair_of_comparison, read_pairs, write_pairs
from engine.records import Check, Comparison, Preference, Vote, as_table
from engine.storage import Folder, StageStore
from tests.engine.rows_for_tests import prompt, response

SYSTEM, QUESTION = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi {{ there }}?"}
GOOD, BAD = {"role": "assistant", "content": "Hello."}, {"role": "assistant", "content": " Go away:\nnow "}
SAID = [("user", "Hi {{ there }}?")], [("assistant", "Hello.")], [("assistant", " Go away:\nnow ")]
HUMAN = {"from": "human", "value": "Hi {{ there }}?"}


def turns(pair: Pair) -> tuple[list[tuple[str, str]], ...]:
    return tuple([(m["role"], m["content"]) for m in part] for part in (pair.prompt, pair.chosen, pair.rejected))


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def comparison(probability_a: float | None, status: Any = "decided", **columns: Any) -> Comparison:
    """A labelled pair with one vote that says the same."""
    asked = prompt()
    vote = Vote("kind", "0" * 16, "ab", (-0.1, -2.0), 0.99, probability_a, "", "", ())
    row = Comparison(
        pair_id="p" * 16,
        item_id=asked.item_id,
        index=3,
        messages=asked.messages,
        source=asked.source,
        category="",
        vector="",
        extra="",
        constitution_hash="c" * 16,
        response_a=response("one"),
        response_b=response("two", 1),
        votes=(vote,),
        checks=(),
        probability_a=probability_a,
        order_consistent=1.0,
        status=status,
        both_bad=None,
    )
    return replace(row, **columns)


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
        {"prompt": [QUESTION], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "Hi {{ there }}?", "chosen": "Hello.", "rejected": " Go away:\nnow "},
        {"prompt": "Hi {{ there }}?", "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
        {"prompt": [QUESTION], "chosen": "Hello.", "rejected": " Go away:\nnow "},
        {"messages": [QUESTION], "chosen": GOOD, "rejected": BAD},
        {"system": "", "input": "Hi {{ there }}?", "chosen": "Hello.", "rejected": " Go away:\nnow "},
        {"instruction": "Hi {{ there }}?", "input": "", "chosen": "Hello.", "rejected": " Go away:\nnow "},
        {
            "conversations": [HUMAN],
            "chosen": {"from": "gpt", "value": "Hello."},
            "rejected": {"from": "gpt", "value": " Go away:\nnow "},
        },
        {"context": [QUESTION], "completions": [{"rank": 1, "completion": [BAD]}, {"rank": 0, "completion": [GOOD]}]},
        {
            "chosen": "\n\nHuman: Hi {{ there }}?\n\nAssistant: Hello.",
            "rejected": "\n\nHuman: Hi {{ there }}?\n\nAssistant:  Go away:\nnow ",
        },
        {
            "prompt": "\n\nHuman: Hi {{ there }}?\n\nAssistant:",
            "chosen": " Hello.",
            "rejected": "  Go away:\nnow ",
        },
    ],
    ids=lambda row: json.dumps(row)[:70],
)
def test_every_form_gives_the_same_pair(row: dict[str, Any], tmp_path: Path) -> None:
    (pair,) = read_pairs(write_rows(tmp_path / "rows.jsonl", row))
    assert turns(pair) == SAID
    assert (pair.status, pair.probability, pair.margin, pair.weight) == ("given", None, None, 1.0)
    (known,) = read_pairs(
        write_rows(tmp_path / "known.jsonl", {"prompt": [QUESTION], "chosen": [GOOD], "rejected": [BAD]})
    )
    assert (pair.pair_id, pair.item_id) == (known.pair_id, known.item_id)


def test_system_messages_and_earlier_turns_stay_in_the_prompt(tmp_path: Path) -> None:
    long = [SYSTEM, QUESTION, GOOD, QUESTION]
    whole = {"chosen": [*long, GOOD], "rejected": [*long, BAD]}
    alpaca = {
        "system": "Be brief.",
        "history": [["Hi {{ there }}?", "Hello."]],
        "instruction": "Hi {{ there }}?",
        "chosen": "Hello.",
        "rejected": " Go away:\nnow ",
    }
    pairs = list(read_pairs(write_rows(tmp_path / "rows.jsonl", whole, alpaca)))
    for pair in pairs:
        assert [dict(m) for m in pair.prompt] == long
    assert [pair.pair_id for pair in pairs] == [pairs[0].pair_id, f"{pairs[0].pair_id}-2"], "ids are unique"


def test_conversations_that_part_early_keep_their_turns(tmp_path: Path) -> None:
    """hh-rlhf has pairs whose contexts differ, and answers that are missing."""
    path = tmp_path / "hh.jsonl.gz"
    rows = [
        {
            "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
            "rejected": "\n\nHuman: a\n\nAssistant: x",
        },
        {"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a\n\nAssistant: x"},
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: z\n\nAssistant: x"},
    ]
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    early, missing, apart = (turns(pair) for pair in read_pairs(path))
    assert early == ([("user", "a")], [("assistant", "b"), ("user", "c"), ("assistant", "d")], [("assistant", "x")])
    assert missing == ([("user", "a")], [("assistant", "")], [("assistant", "x")])
    assert apart == ([], [("user", "a"), ("assistant", "b")], [("user", "z"), ("assistant", "x")])


def test_plain_texts_part_at_a_word(tmp_path: Path) -> None:
    row = {"chosen": "The sky is blue.", "rejected": "The sky is black."}
    (pair,) = read_pairs(write_rows(tmp_path / "rows.jsonl", row))
    assert turns(pair) == ([("user", "The sky is ")], [("assistant", "blue.")], [("assistant", "black.")])


def test_a_llama_factory_folder_is_read_by_its_own_names(tmp_path: Path) -> None:
    turn = {"who": "h", "text": "Hi {{ there }}?"}
    answers = {"good": {"who": "a", "text": "Hello."}, "bad": {"who": "a", "text": " Go away:\nnow "}}
    write_rows(tmp_path / "mine.jsonl", {"talk": [turn], **answers})
    write_rows(tmp_path / "other.jsonl", {"text": "not a pair"})
    entry = {
        "file_name": "mine.jsonl",
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "talk", "chosen": "good", "rejected": "bad"},
        "tags": {"role_tag": "who", "content_tag": "text", "user_tag": "h", "assistant_tag": "a"},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry, "sft": {"file_name": "other.jsonl"}}))
    (pair,) = read_pairs(tmp_path)
    assert turns(pair) == SAID


def test_our_own_columns_come_back(tmp_path: Path) -> None:
    """What an export carries beside a trainer's columns is kept."""
    carried = {"pair_id": "abc", "probability": 0.75, "category": "benign", "margin": 2, "status": "decided"}
    row = {"prompt": [QUESTION], "chosen": [GOOD], "rejected": [BAD], **carried, "principle_ids": ["kind"]}
    (pair,) = read_pairs(write_rows(tmp_path / "rows.jsonl", row))
    assert (pair.pair_id, pair.probability, pair.category, pair.margin) == ("abc", 0.75, "benign", 2.0)
    assert (pair.status, pair.principle_ids) == ("decided", ("kind",))
    with pytest.raises(BadInput, match=r"'probability' is 7"):
        list(read_pairs(write_rows(tmp_path / "wrong.jsonl", row | {"probability": 7})))


def test_a_run_gives_every_row_with_the_better_answer_first(tmp_path: Path) -> None:
    run = Folder(str(tmp_path / "run"))
    rows = [comparison(0.2), comparison(None, "undecided", pair_id="u" * 16, index=4)]
    store = StageStore(run, "03_compare", Comparison)
    store.write_part("key", 0, rows, [])
    run.write("recipe.yaml", b"name: x\n")
    decided, undecided = read_pairs(run.location)
    assert turns(decided)[1:] == ([("assistant", "two")], [("assistant", "one")])
    assert decided.probability == pytest.approx(0.8)
    assert decided.votes[0].probability_a == pytest.approx(0.8), "votes call the chosen answer a"
    assert decided.finish_reasons == ("stop", "stop")
    assert (undecided.status, undecided.probability) == ("undecided", None)
    assert turns(undecided)[1:] == ([("assistant", "one")], [("assistant", "two")])


def test_written_pairs_are_read_back_whole(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "kept"))
    pair = pair_of_comparison(comparison(0.9))
    assert write_pairs(folder, [pair]) == 1
    folder.write_json("manifest.json", {})
    assert list(read_pairs(folder.location)) == [pair]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"text": "hello"},
            r"rows.jsonl:2: there is no 'chosen' among the columns text \(a pair is chosen and rejected",
        ),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "'rejected' is empty"),
        ({"prompt": 3, "chosen": "b", "rejected": "c"}, "'prompt' is due to be text or a list of messages"),
        ({"prompt": "a", "chosen": [{"role": "judge", "content": "x"}], "rejected": "c"}, "unknown role 'judge'"),
        ({"prompt": "a", "chosen": "half \ud83d", "rejected": "c"}, "surrogate"),
        ({"context": [QUESTION], "completions": [{"rank": 0, "completion": [GOOD]}]}, "a pair is two"),
    ],
)
def test_a_row_that_is_no_pair_says_where_and_why(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    path = write_rows(tmp_path / "rows.jsonl", good, row, good)
    with pytest.raises(BadInput, match=said):
        list(read_pairs(path))
    faults: list[Fault] = []
    assert [pair.index for pair in read_pairs(path, on_fault=faults.append)] == [0, 2]
    assert len(faults) == 1


def test_what_a_run_gives_to_trainers_is_the_pair_of_its_comparison(tmp_path: Path) -> None:
    said: tuple[tuple[Literal["a", "b"], float], ...] = (("a", 0.8), ("b", 0.1), ("b", 0.3))
    checks = tuple(Check("harm", name, (), 0.9, bad, "", None) for name, bad in said)
    row = comparison(0.2, checks=checks)
    preference = row.preference()
    assert preference is not None
    Folder(str(tmp_path)).write_table("part-00000.parquet", as_table([preference], Preference))
    (read,) = read_pairs(tmp_path)
    assert read == replace(pair_of_comparison(row), votes=(), finish_reasons=())
    assert (read.chosen[0]["content"], read.chosen_bad, read.rejected_bad) == ("two", 0.3, 0.8)
