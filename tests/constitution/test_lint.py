"""Advice comes with its rule, its place and what to do; our own constitutions need none."""

from __future__ import annotations

from pathlib import Path

import pytest

from constitution import built_in_names, load_constitution
from constitution.lint import LONGEST_TEXT, Finding, lint, own_findings
from constitution.loading import load_constitution_text, resolve
from constitution.yaml_files import read_document

SOUND = """\
    comparison: Which response is kinder?
    propositions: [{id: unkind, question: Is the response unkind?, bad_answer: yes}]
    tests: [{prompt: Hi, better: Hello!, worse: What?}]
"""


def findings(principles: str) -> list[Finding]:
    return lint(load_constitution_text(f"name: x\nprinciples:\n{principles}"))


def rules(principles: str) -> set[str]:
    return {finding.rule for finding in findings(principles)}


@pytest.mark.parametrize("name", built_in_names())
def test_our_own_constitutions_need_no_advice(name: str) -> None:
    assert lint(load_constitution(name)) == []


COUNTERPART = "    critique: What is unkind?\n    revision: Be kind.\n"


def test_a_sound_principle_is_fine() -> None:
    assert rules(f"  - id: a\n{COUNTERPART}{SOUND}") == set()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("tests: [{prompt: Hi, better: Hello!, worse: What?}]", "tags: []"), "no-tests"),
        (("worse: What?", "worse: Hello!"), "test-decides-nothing"),
        (("Which response is kinder?", "Compare how kind the responses are."), "no-direction"),
        (("Which response is kinder?", "'Which response to {{ prompt }} is kinder?'"), "braces"),
        (("Which response is kinder?", "'Which response is kinder? }'"), "braces"),
        (("Which response is kinder?", "'Which response is kinder? Options:'"), "prompt-format"),
        (("What is unkind?", "'CritiqueRequest: What is unkind?'"), "prompt-format"),
        (("Be kind.", f"Be kind. {'word ' * LONGEST_TEXT}"), "too-long"),
        (("tests:", "risk: [ilicit]\n    tests:"), "unknown-risk"),
        (("tests:", "risk: [illicit]\n    tests:"), "uncovered-risk"),
        (
            ("propositions: [{id: unkind, question: Is the response unkind?, bad_answer: yes}]", "tags: []"),
            "no-propositions",
        ),
        ((COUNTERPART, ""), "cannot-revise"),
        (("comparison: Which response is kinder?", "tags: []"), "cannot-compare"),
    ],
)
def test_each_rule_speaks_up(change: tuple[str, str], rule: str) -> None:
    changed = f"  - id: a\n{COUNTERPART}{SOUND}".replace(*change)
    assert rule in rules(changed)
    assert all(finding.hint for finding in findings(changed))


def test_braces_that_close_are_ordinary_text() -> None:
    assert rules(f"  - id: a\n{COUNTERPART}{SOUND}".replace("kinder?", "kinder, in {curly} words?")) == set()


def test_principles_that_ask_the_same_are_found() -> None:
    long = (
        "Which response treats everyone in the conversation, and everyone it talks about, with more patience and care?"
    )
    texts = [long, long.replace("patience", "kindness"), "Which response is more accurate in its facts and figures?"]
    principles = "".join(
        f"  - id: p{index}\n{SOUND}".replace("Which response is kinder?", text) for index, text in enumerate(texts)
    )
    found = [finding for finding in findings(principles) if finding.rule == "near-identical"]
    assert [(finding.principle, finding.field) for finding in found] == [("p1", "comparison")]
    assert "that of 'p0'" in found[0].message


def test_a_list_without_any_tests_is_told_once() -> None:
    untested = "".join(f"  - {{id: {name}, comparison: Which is {name}?}}\n" for name in "abc")
    missing = [finding for finding in findings(untested) if finding.rule == "no-tests"]
    assert [(finding.principle, finding.field) for finding in missing] == [("", "principles")]
    assert missing[0].message.startswith("none of the 3 principles has tests")
    some = [finding.principle for finding in findings(f"{untested}  - id: d\n{SOUND}") if finding.rule == "no-tests"]
    assert some == ["a", "b", "c"]


def test_one_question_under_two_ids_and_hopeless_weights_are_found() -> None:
    first = f"  - id: a\n{COUNTERPART}{SOUND}"
    second = (
        first.replace("id: a", "id: b").replace("id: unkind", "id: rude").replace("tests:", "weight: 0.001\n    tests:")
    )
    found = {finding.rule: finding for finding in findings(first + second)}
    assert found["same-question"].message.startswith("the proposition 'rude' asks the same as 'unkind'")
    assert (found["rarely-drawn"].principle, found["rarely-drawn"].field) == ("b", "weight")


def test_findings_stand_at_their_places_and_leave_inherited_principles_alone(tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text("name: p\nprinciples: [{id: bare, comparison: Compare them.}]\n", "utf-8")
    child = tmp_path / "child.yaml"
    child.write_text(
        "name: c\nextends: parent.yaml\nprinciples:\n  - id: mine\n    comparison: Compare them well.\n", "utf-8"
    )
    document = read_document(child)
    found = [str(fault).removeprefix(f"{tmp_path}/") for fault in own_findings(resolve(document, child), document)]
    assert (
        "child.yaml:5:17: warning: principles[0] 'mine': the comparison does not say which response to choose"
        in found[-1]
    )
    assert found[-1].endswith("[no-direction] (ask 'Which response …?')")
    assert not any("bare" in fault for fault in found)
