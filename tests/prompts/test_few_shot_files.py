"""Few-shots: ours are sound and balanced, a user's are checked with line numbers, the paper's own files are read."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from constitution.faults import BadInput, Fault
from prompts.examples import FewShots
from prompts.few_shot_files import read_few_shots
from prompts.messages import Message
from prompts.paper_examples import PAPER_FILES
from prompts.reading import NO_CHANGE, leaks_template, read_critique
from prompts.rendering import PromptSet

PAPER_FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "constitutional-ai-paper"
ASKED: list[Message] = [{"role": "user", "content": "Hello"}]
OURS = read_few_shots()

needs_paper = pytest.mark.skipif(not PAPER_FOLDER.is_dir(), reason="the CAI paper's files are not beside the checkout")


def faults(folder: Path) -> tuple[Fault, ...]:
    with pytest.raises(BadInput) as caught:
        read_few_shots(folder)
    return caught.value.faults


# Ours -----------------------------------------------------------------------------------------------------------------


def test_there_are_as_many_as_in_the_paper() -> None:
    assert (len(OURS.critique_revise), len(OURS.compare), len(OURS.reason)) == (5, 5, 6)


def test_neither_place_nor_length_gives_the_verdict_away() -> None:
    assert Counter(example.better for example in OURS.compare) == {"A": 2, "B": 3}
    assert Counter(example.better for example in OURS.reason) == {"A": 3, "B": 3}
    assert Counter(example.answer for example in OURS.proposition) == {"yes": 2, "no": 2}
    longer = ["A" if len(example.first) > len(example.second) else "B" for example in (*OURS.compare, *OURS.reason)]
    right = [example.better for example in (*OURS.compare, *OURS.reason)]
    assert 4 <= sum(guess == truth for guess, truth in zip(longer, right, strict=True)) <= 7


def test_every_comparison_has_its_own_question() -> None:
    for examples in (OURS.compare, OURS.reason):
        assert len({example.question for example in examples}) == len(examples)


def test_one_critique_finds_nothing_and_changes_nothing() -> None:
    found = [read_critique(example.critique) for example in OURS.critique_revise]
    assert found.count(False) == 1
    unchanged = OURS.critique_revise[found.index(False)]
    assert unchanged.revision == unchanged.response
    assert all(example.revision != example.response for example in OURS.critique_revise if example is not unchanged)


def test_the_reasons_end_with_the_verdict() -> None:
    for example in OURS.reason:
        assert f"So ({example.better}) " in example.reasoning


def test_no_example_answer_looks_like_a_leak() -> None:
    answers = [text for example in OURS.critique_revise for text in (example.response, example.revision)]
    answers += [text for example in OURS.compare for text in (example.first, example.second)]
    assert [text for text in answers if leaks_template(text)] == []


# A user's -------------------------------------------------------------------------------------------------------------

ONE_COMPARISON = """\
examples:
  - conversation:
      - user: Hello {{ there }}
    first: Hi.
    second: Go away.
    question: Which is kinder?
    better: A
"""


def test_one_file_is_replaced_and_the_others_stay_ours(tmp_path: Path) -> None:
    (tmp_path / "compare.yaml").write_text(ONE_COMPARISON)
    few_shots = read_few_shots(tmp_path)
    assert [example.first for example in few_shots.compare] == ["Hi."]
    assert few_shots.reason == OURS.reason
    prompts = PromptSet.load(few_shots=tmp_path)
    messages = prompts.compare(ASKED, "x", "y", "Which?").messages
    assert len(messages) == 4
    assert "User: Hello {{ there }}\n" in messages[0]["content"]
    assert messages[1]["content"] == "The answer is: (A)"
    ours = PromptSet.load().hashes
    assert {call for call in ours if ours[call] != prompts.hashes[call]} == {"compare"}


def test_faults_have_lines(tmp_path: Path) -> None:
    (tmp_path / "compare.yaml").write_text(
        ONE_COMPARISON.replace("second:", "secnd:").replace("better: A", "better: C")
    )
    found = {(fault.line, fault.hint) for fault in faults(tmp_path)}
    assert (5, "did you mean 'second'?") in found
    assert {line for line, _ in found} == {2, 5, 7}


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ("[{user: a}, {user: b}]", "user and assistant must alternate"),
        ("[{user: a}, {assistant: b}]", "user and assistant must alternate"),
        ("[{user: a, assistant: b}]", "a turn has one speaker"),
        ("[]", "user and assistant must alternate"),
    ],
)
def test_turns_must_alternate(tmp_path: Path, turns: str, message: str) -> None:
    text = ONE_COMPARISON.replace("\n      - user: Hello {{ there }}", f" {turns}")
    (tmp_path / "compare.yaml").write_text(text)
    (fault,) = faults(tmp_path)
    assert message in fault.message
    assert fault.line == 2


def test_a_critique_that_finds_nothing_must_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "critique_revise.yaml").write_text(
        "examples:\n"
        "  - conversation: [{user: a}]\n    response: b\n    critique_request: c\n"
        f"    critique: {NO_CHANGE}\n    revision_request: d\n    revision: e\n"
    )
    (fault,) = faults(tmp_path)
    assert "'revision' must repeat 'response'" in fault.message


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"comapre.yaml": ONE_COMPARISON},
            r"comapre\.yaml: no few-shots have this name \(did you mean 'compare\.yaml'\?\)",
        ),
        ({"notes.txt": "x"}, "the folder holds no few-shots"),
        ({"compare.yaml": "examples: []"}, "'examples' is empty"),
        ({"compare.yaml": ONE_COMPARISON, PAPER_FILES["compare"]: "[]"}, "the same few-shots are in RLMadison"),
    ],
)
def test_a_folder_that_would_do_nothing_is_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        read_few_shots(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder of few-shots"):
        PromptSet.load(few_shots=tmp_path / "nowhere")


# The paper's ----------------------------------------------------------------------------------------------------------

STEPS = (
    "\n\nHuman: Consider the following conversation between a human (H) and an assistant (A):\n\n"
    "H: Hi: you\n\nA: Hello.\n\nH: Bye {x}\n\n{}\n (A) [[[So long.]]]\n (B) [[[Go.]]]\n\n"
    "Assistant: Let's think step by step:\n(A) is kind.\n\nHuman:\nSo the answer is: (A)"
)
MADE_UP: dict[str, Any] = {
    PAPER_FILES["critique_revise"]: [
        "\n\nHuman: One: a\n\nAssistant: Two\n\nHuman: Three\n\nAssistant: Four\n\nCritiqueRequest: Five\n\n"
        "Critique: Six: seven\n\nRevisionRequest: Eight\n\nRevision: Nine\n\nHuman:"
    ],
    PAPER_FILES["compare"]: [
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "corrects": ["good"], "incorrects": ["bad"]} for _ in range(3)
    ],
    PAPER_FILES["reason"]: [{"prompt": STEPS}],
}


def write(folder: Path, files: dict[str, Any]) -> FewShots:
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    return read_few_shots(folder)


def test_files_of_the_papers_shape_are_read(tmp_path: Path) -> None:
    few_shots = write(tmp_path, MADE_UP)
    (chain,) = few_shots.critique_revise
    assert [message["content"] for message in chain.messages] == ["One: a", "Two", "Three"]
    assert (chain.response, chain.critique_request, chain.critique) == ("Four", "Five", "Six: seven")
    assert (chain.revision_request, chain.revision) == ("Eight", "Nine")
    assert [(item.first, item.second, item.better) for item in few_shots.compare] == [
        ("bad", "good", "B"),
        ("good", "bad", "A"),
        ("good", "bad", "A"),
    ]
    (steps,) = few_shots.reason
    assert [message["content"] for message in steps.messages] == ["Hi: you", "Hello.", "Bye {x}"]
    assert (steps.first, steps.second, steps.reasoning, steps.better) == ("So long.", "Go.", "(A) is kind.", "A")
    assert few_shots.proposition == OURS.proposition


def test_questions_come_from_the_instructions_beside_the_examples(tmp_path: Path) -> None:
    assert [item.question for item in write(tmp_path, MADE_UP).compare] == [item.question for item in OURS.compare][:3]
    few_shots = write(
        tmp_path, {"RLMadisonInstructions.json": ["\nWhich is kind? Options:", "\nWhich is wise? Options:"]}
    )
    assert [item.question for item in few_shots.compare] == ["Which is kind?", "Which is wise?", "Which is kind?"]
    assert few_shots.reason[0].question == "Which is kind?"


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("critique_revise", ["\n\nHuman: a\n\nAssistant: b"], "example 1"),
        ("critique_revise", {"a": 1}, "must hold a list"),
        ("compare", [MADE_UP[PAPER_FILES["compare"]][0], {"prompt": "x"}], "example 2: .*not of the shape"),
        ("reason", [{"prompt": "x"}], r"example 1: .*\[\[\[…\]\]\]"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, kind: str, value: Any, message: str) -> None:
    (tmp_path / PAPER_FILES[kind]).write_text(json.dumps(value))
    with pytest.raises(BadInput, match=message):
        read_few_shots(tmp_path)


def test_a_file_that_is_not_json_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / PAPER_FILES["compare"]).write_text('[\n  "a",\n')
    (fault,) = faults(tmp_path)
    assert fault.message.startswith("not JSON")
    assert fault.line == 3


@needs_paper
def test_the_papers_own_files_are_read() -> None:
    few_shots = read_few_shots(PAPER_FOLDER)
    assert (len(few_shots.critique_revise), len(few_shots.compare), len(few_shots.reason)) == (5, 5, 6)
    assert [example.better for example in few_shots.reason] == ["B", "B", "A", "B", "A", "B"]
    assert [len(example.messages) for example in few_shots.critique_revise] == [3, 1, 1, 3, 3]
    assert [len(example.messages) for example in few_shots.reason] == [3, 1, 1, 1, 1, 1]
    texts = json.dumps([example.model_dump() for example in (*few_shots.critique_revise, *few_shots.reason)])
    assert not any(label in texts for label in ("Human:", "Assistant:", "Critique:", "[[[", "Options:", "step by step"))
    prompts = PromptSet.load(few_shots=PAPER_FOLDER, layout="paper")
    assert len(prompts.compare(ASKED, "x", "y", "Which?").messages) == 12
