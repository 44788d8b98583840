"""What a report says of judges whose faults are known: one that looks at positions, one that is right, one that is
silent."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from constitution import BadInput, Principle
from evaluation.calibration import calibration
from evaluation.drawing import reliability_plot
from evaluation.judge_cases import PairCase, QuestionCase, read_cases
from evaluation.judge_pages import judge_markdown
from evaluation.judge_report import pair_floors, pair_questions, pair_report, question_report
from evaluation.verdicts import Verdict
from prompts.messages import Message
from prompts.rendering import PromptSet

PRINCIPLES = [Principle(id=name, comparison=f"Which is more {name}?") for name in ("kind", "brief", "vain")]
CASES = [
    PairCase(
        source=f"f:{n}",
        messages=(Message(role="user", content=f"prompt {n}"),),
        better="better answer" + "!" * (n % 2),
        worse="worse answer",
        better_first=n % 2 == 0,
    )
    for n in range(10)
]
RIGHT = (Verdict((0.9, 0.1), 0.95), Verdict((0.3, 0.7), 0.85))
WRONG = (Verdict((0.2, 0.8), 1.0), Verdict((0.6, 0.4), 1.0))
FIRST = (Verdict((0.8, 0.2), 1.0), Verdict((0.8, 0.2), 1.0))
SILENT = (Verdict(None, 0.1, "LowMass"), Verdict((0.9, 0.1), 1.0))


def test_questions_show_the_better_answer_first_and_then_second() -> None:
    questions = pair_questions(CASES[:1], PRINCIPLES[:2], PromptSet.load(use_few_shots=False))
    assert len(questions) == 4
    texts = [question.messages[-2]["content"] for question in questions]
    assert [text.index("better answer") < text.index("worse answer") for text in texts] == [True, False, True, False]
    assert ["kind" in text for text in texts] == [True, True, False, False]


def test_a_judge_is_counted_by_case_and_by_principle() -> None:
    # "kind" is right on eight of ten; "brief" is right on all, where it is heard; "vain" goes by position.
    verdicts = [
        verdict for n in range(10) for verdict in (*(WRONG if n < 2 else RIGHT), *(SILENT if n == 9 else RIGHT), *FIRST)
    ]
    found = pair_report(CASES, PRINCIPLES, verdicts)
    # Cases 0 and 1: (0.3 + 0.8 + 0.5) / 3 = 0.533: still right.
    assert found.accuracy.value == 1
    assert found.undecided == 0
    assert found.order_consistency.value == pytest.approx(19 / 29), "of 29 read in both orders, ten go by position"
    assert found.first_preferred.value == pytest.approx((10 + 9 + 20 + 1) / 59)
    assert found.better_shown_first.value == 1
    assert found.low_mass.value == pytest.approx(1 / 60)
    assert found.mass.n == 60
    kind, brief, vain = found.principles
    assert kind.accuracy.value == pytest.approx(0.8)
    assert (brief.accuracy.value, brief.accuracy.n) == (1, 9)
    assert vain.decided.value == 0
    assert found.never_deciding == ["vain"]
    (pair,) = [each for each in found.agreement if {each.first, each.second} == {"kind", "brief"}]
    assert pair.same.value == pytest.approx(7 / 9)
    assert found.calibration.error.n == 10


def test_a_pair_that_nobody_read_is_undecided_and_a_tie_is_half_right() -> None:
    found = pair_report(CASES[:2], PRINCIPLES[:1], [*SILENT, *FIRST])
    assert found.undecided == 1
    assert (found.accuracy.value, found.accuracy.n) == (0.5, 1)
    assert found.calibration.error.n == 0, "a tie says nothing"


def test_a_principle_that_was_never_read_is_named_and_every_share_has_its_n() -> None:
    found = pair_report(CASES[:2], PRINCIPLES[:2], [*RIGHT, *SILENT, *RIGHT, *SILENT])
    assert (found.never_deciding, found.never_read) == ([], ["brief"])
    markdown = judge_markdown("judge", {}, {"pairs": found})
    assert "| kind | 1.000 | 0.342 to 1.000 | 2 | 1.000 | 0.342 to 1.000 | 2 | 0.800 (0.800 to 0.800) |" in markdown
    assert "Never read in both orders: brief." in markdown


def test_pairs_of_one_prompt_are_one_case_of_an_interval() -> None:
    same = [replace(case, messages=CASES[0].messages) for case in CASES]
    found = pair_report(same, PRINCIPLES[:2], [*RIGHT, *RIGHT] * 10)
    assert found.calibration.error.n == 10
    assert found.calibration.error.low is None
    assert found.agreement[0].same.low is None


def test_a_judge_that_is_mostly_wrong_is_drawn_below_one_half() -> None:
    wrong = reliability_plot(calibration([0.8] * 10, [True] * 2 + [False] * 8), low=0.5)
    right = reliability_plot(calibration([0.8] * 10, [True] * 8 + [False] * 2), low=0.5)
    assert _dot(wrong) > _start_of_the_diagonal(wrong), "y grows downwards; the diagonal starts at one half"
    assert _dot(right) < _start_of_the_diagonal(right)


def _dot(plot: str) -> float:
    return float(re.findall(r'cy="([\d.]+)"', plot)[0])


def _start_of_the_diagonal(plot: str) -> float:
    return float(re.findall(r'class="even" x1="[\d.]+" y1="([\d.]+)"', plot)[0])


def test_floors() -> None:
    floors = pair_floors(CASES)
    assert floors.always_first.value == 0.5
    assert floors.choose_longer.value == 1
    unordered = [PairCase("", case.messages, case.better, case.worse) for case in CASES]
    assert pair_floors(unordered).always_first.value is None


def test_questions_have_a_confusion_table() -> None:
    cases = [QuestionCase("", "?", ("A", "B"), ("theft", "lies"), right) for right in (0, 0, 1)]
    verdicts = [Verdict((0.9, 0.1), 1), Verdict((0.2, 0.8), 1), Verdict(None, 0.0, "LowMass")]
    found = question_report(cases, verdicts)
    assert (found.accuracy.value, found.unread) == (0.5, 1)
    assert found.confusion == ((1, 1), (0, 0))
    assert found.floors.commonest.value == pytest.approx(2 / 3)
    assert [each.recall.n for each in found.classes] == [2, 0]


PAPER_ROW = {
    "prompt": "This:\n\nHuman: hi\n\nWhich? Options:\n (A) [[[go away]]]\n (B) [[[hello]]]\n\nThe answer is:",
    "corrects": [" (B)"],
    "incorrects": [" (A)"],
    "text_correct": "\n\nHuman: hi\n\nAssistant: hello",
    "text_incorrect": "\n\nHuman: hi\n\nAssistant: go away",
}


def test_the_papers_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "hhh.jsonl"
    path.write_text(json.dumps(PAPER_ROW) + "\n")
    cases = read_cases(str(path))
    (pair,), (question,) = cases.pairs, cases.questions
    assert (pair.prompt, pair.better, pair.worse, pair.better_first) == ("hi", "hello", "go away", False)
    assert (question.letters, question.right) == (("A", "B"), 1)
    rendered = question.rendered()
    assert rendered.messages[0]["content"].endswith("[[[hello]]]")
    assert rendered.messages[1]["content"] == "The answer is: ("


@pytest.mark.parametrize(
    ("left_out", "message"),
    [("text_incorrect", "'text_correct' and no 'text_incorrect'"), ("corrects", "a question has no 'corrects'")],
)
def test_a_row_of_the_papers_files_that_is_cut_short_is_told_with_its_line(
    tmp_path: Path, left_out: str, message: str
) -> None:
    path = tmp_path / "hhh.jsonl"
    rows = [PAPER_ROW, {name: value for name, value in PAPER_ROW.items() if name != left_out}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadInput) as caught:
        read_cases(str(path))
    (fault,) = caught.value.faults
    assert message in fault.message
    assert fault.line == 2


def test_hostile_names_stay_text_in_markdown() -> None:
    markdown = judge_markdown("a|b <script>", {"[x](javascript:1)\n# y": "z"}, {})
    assert "<script>" not in markdown
    assert "\n# y" not in markdown


PAPER = Path(__file__).parents[3] / "shared" / "data" / "constitutional-ai-paper"


@pytest.mark.skipif(not PAPER.is_dir(), reason="the paper's files are not in ../shared/data/constitutional-ai-paper")
def test_floors_of_the_papers_own_sets() -> None:
    comparisons = read_cases(str(PAPER / "438HHHEvaluations.even.jsonl"))
    floors = pair_floors(comparisons.pairs)
    assert floors.always_first.n == 219
    assert floors.always_first.value == pytest.approx(0.502, abs=5e-4)
    assert floors.choose_longer.value == pytest.approx(0.539, abs=5e-4)
    classes = read_cases(str(PAPER / "HarmfulnessClassification.jsonl")).questions
    assert (len(classes), {len(case.letters) for case in classes}) == (287, {9})
