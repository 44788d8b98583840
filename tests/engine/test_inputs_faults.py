"""What is wrong with a prompt file is said with its place, all at once, before a model is loaded."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from constitution.faults import BadInput
from engine.inputs import PromptSource, check_prompts, read_prompts

GOOD = '{"prompt": "fine"}'


def faults(path: Path | str, **settings: Any) -> str:
    """What the check says; reading stops at the first of these faults."""
    sources = [PromptSource(path=str(path), **settings)]
    with pytest.raises(BadInput) as checked:
        check_prompts(sources)
    with pytest.raises(BadInput) as read:
        list(read_prompts(sources))
    assert read.value.faults == checked.value.faults[:1]
    return str(checked.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "cut', "p.jsonl:2:12: this is not JSON: Unterminated string"),
        ("[1, 2]", "p.jsonl:2: a JSON object is due, an array was found"),
        ("null", "p.jsonl:2: a JSON object is due, null was found"),
        ('{"prompt": 7}', "p.jsonl:2: 'prompt' is due to be text or a list of messages, a number was found"),
        ('{"prompt": " "}', "p.jsonl:2: 'prompt' is empty"),
        ('{"prompt": null}', "p.jsonl:2: 'prompt' is empty"),
        ('{"promt": "x"}', "p.jsonl:2: there is no prompt among the columns promt"),
        ("{}", "p.jsonl:2: there is no prompt among the columns (none)"),
        ('{"messages": []}', "p.jsonl:2: the conversation has no user turn"),
        ('{"messages": ["hi"]}', "p.jsonl:2: messages[0] is due to be a message with role and content, text was found"),
        ('{"messages": [{"role": "user"}]}', "p.jsonl:2: messages[0] has the keys role"),
        (
            '{"messages": [{"role": "usr", "content": "x"}]}',
            "p.jsonl:2: messages[0] has the unknown role 'usr' (did you mean 'user'?)",
        ),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "p.jsonl:2: messages[0] has the unknown role 'tool'"),
        ('{"messages": [{"role": "user", "content": null}]}', "the content of messages[0] is due to be text, nothing"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "holds more than text"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "p.jsonl:2: the conversation has no user turn"),
        (
            '{"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}',
            "p.jsonl:2: the conversation ends with a system message",
        ),
        ('{"messages": "[{"}', "p.jsonl:2: 'messages' begins like a JSON list of messages and is none"),
        ('{"chosen": "hi", "rejected": "ho"}', r"p.jsonl:2: the transcript does not begin with '\n\nHuman:'"),
        (
            r'{"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: b"}',
            "p.jsonl:2: chosen and rejected share no user turn",
        ),
        (r'{"prompt": "ab \ud83d cd"}', "p.jsonl:2: half of a surrogate pair (U+D83D) stands at character 4"),
        (r'{"prompt": "a", "category": "\ude00"}', "p.jsonl:2: half of a surrogate pair (U+DE00)"),
        ("[" * 100_000, "p.jsonl:2: this JSON cannot be read"),
    ],
    ids=lambda value: value[:50],
)
def test_a_row_of_the_wrong_shape(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f"{GOOD}\n{row}\n{GOOD}\n")
    text = faults(path)
    assert message in text
    assert len(text.splitlines()) == 1


def test_bytes_that_are_no_utf8_are_placed(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(GOOD.encode() + b'\n{"prompt": "\xff"}\n')
    assert "p.jsonl:2: byte 13 of the line is not UTF-8" in faults(tmp_path / "p.jsonl")
    (tmp_path / "p.txt").write_bytes(b"fine\n\xe9t\xe9\n")
    assert "p.txt:2: byte 1 of the line is not UTF-8" in faults(tmp_path / "p.txt")
    (tmp_path / "p.csv").write_bytes(b"prompt\nfine\ncaf\xe9\n")
    assert "p.csv:3: this row is not UTF-8" in faults(tmp_path / "p.csv")


def test_faults_are_listed_to_twenty_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n" * 30)
    (tmp_path / "b.jsonl").write_text("{}\n" * 7)
    with pytest.raises(BadInput) as caught:
        check_prompts([PromptSource(path=str(tmp_path / name)) for name in ("a.jsonl", "b.jsonl")])
    assert [fault.line for fault in caught.value.faults[:20]] == list(range(1, 21))
    assert str(caught.value).splitlines()[20:] == ["and 17 more, 37 faults in all"]


def test_bad_rows_may_be_skipped_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f"{GOOD}\n{{}}\nnot json\n{GOOD}\n")
    source = PromptSource(path=str(path), bad_rows="skip")
    assert [prompt.source[-2:] for prompt in read_prompts([source])] == [":1", ":4"]
    assert [prompt.index for prompt in read_prompts([source])] == [0, 1]
    summary = check_prompts([source])
    assert (summary.prompts, summary.rows_skipped) == (2, 2)
    assert [fault.line for fault in summary.skipped] == [2, 3]
    path.write_text("{}\n")
    assert "there are no prompts in it" in faults(path, bad_rows="skip")


def test_a_column_that_a_table_lacks_is_one_fault_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,promt\n" + "1,x\n" * 50)
    assert faults(path).startswith(f"{path}:2: there is no prompt among the columns id, promt")
    assert len(faults(path, bad_rows="skip").splitlines()) == 1
    assert "no column 'prompt' (did you mean 'promt'?)" in faults(path, column="prompt")
    assert "no column 'risk'" in faults(path, column="promt", category_column="risk")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,id\na,1\nb\n", "p.csv:3: 1 cells where the header has 2"),
        ("prompt,id\na,b,1\n", "p.csv:2: 3 cells where the header has 2"),
        ('prompt,id\na,1\n"open,2\nc,3\n', "p.csv:3: this is not CSV: unexpected end of data"),
        ("prompt,prompt\na,b\n", "p.csv:1: the header names 'prompt' twice"),
        ("prompt\n", "p.csv: there are no prompts in it"),
        ("", "p.csv: there are no prompts in it"),
        ("prompt,id\n,1\n", "p.csv:2: 'prompt' is empty"),
    ],
)
def test_broken_csv(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(content)
    assert message in faults(tmp_path / "p.csv")


def test_damaged_files(tmp_path: Path) -> None:
    # Hashes do not compress: the cut falls in the middle of the rows.
    rows = "".join(f'{{"prompt": "{number * 7919**9 % 10**30}"}}\n' for number in range(5000)).encode()
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(rows)[:-2000])
    assert "the file cannot be read any further" in faults(tmp_path / "p.jsonl.gz", bad_rows="skip")
    (tmp_path / "q.jsonl.gz").write_bytes(b"this is no gzip")
    assert "the file cannot be read any further" in faults(tmp_path / "q.jsonl.gz")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and no more")
    assert "the file cannot be read any further" in faults(tmp_path / "p.parquet")
    (tmp_path / "z.jsonl.zst").write_bytes(pa.compress(rows, codec="zstd", asbytes=True)[:-2000])
    assert "z.jsonl.zst" in faults(tmp_path / "z.jsonl.zst")
    (tmp_path / "p.json").write_text('[{"prompt": "q"},\n {"prompt": }]')
    assert "p.json:2:13: this is not JSON" in faults(tmp_path / "p.json")


def test_parquet_faults_name_the_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["fine", None]}), tmp_path / "p.parquet")
    assert "p.parquet: row 2: 'prompt' is empty" in faults(tmp_path / "p.parquet")


def test_places_without_prompts(tmp_path: Path) -> None:
    assert "there is no such file or folder" in faults(tmp_path / "nothing.jsonl")
    assert "there are no files here" in faults(tmp_path)
    (tmp_path / "README.md").write_text("about")
    assert "none of the 1 files here is a data file" in faults(tmp_path)
    assert "does not say how the file is stored" in faults(tmp_path / "README.md")
    assert "there are no files here" in faults(f"{tmp_path}/*.jsonl")
    assert "there is no such file or folder" in faults("memory://nowhere/at/all.jsonl")
    assert "Protocol not known" in faults("nosuch://bucket/p.jsonl")
    with pytest.raises(BadInput, match="no prompts are given"):
        check_prompts([])
    (tmp_path / "p.jsonl").write_text(GOOD)
    assert "for Hugging Face data sets; this is a plain file" in faults(tmp_path / "p.jsonl", split="train")


def test_a_hub_that_cannot_be_reached_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\nmore about it")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    text = faults("some-owner/some-data", split="train")
    assert text.startswith("some-owner/some-data: there is no such path here, and the Hugging Face hub gave no such")
    assert "Couldn't reach the Hub (check the name and the network" in text


def test_a_misspelt_path_beside_real_files_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prompts").write_text(json.dumps({"prompt": "q"}))
    assert "there is no such file or folder" in faults("data/promts")
