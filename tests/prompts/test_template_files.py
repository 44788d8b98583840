"""A user's templates: what may be changed, what is found wrong before a model is loaded, and what the hash tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from constitution.faults import BadInput, Fault
from prompts.messages import Message
from prompts.rendering import PromptSet, Rendered
from prompts.template_files import KINDS, TEMPLATES_FOLDER

ASKED: list[Message] = [{"role": "user", "content": "Hello"}]
OURS = PromptSet.load()


def load(folder: Path, **files: str) -> PromptSet:
    """A prompt set with these templates in place of ours."""
    for name, text in files.items():
        (folder / f"{name}.jinja").write_text(text)
    return PromptSet.load(folder)


def faults(folder: Path, **files: str) -> tuple[Fault, ...]:
    with pytest.raises(BadInput) as caught:
        load(folder, **files)
    return caught.value.faults


def compare(prompts: PromptSet) -> Rendered:
    return prompts.compare(ASKED, "one", "two", "Which?")


# Overriding -----------------------------------------------------------------------------------------------------------


def test_one_template_is_replaced_and_the_others_stay_ours(tmp_path: Path) -> None:
    prompts = load(tmp_path, critique="Look hard. {{ request }}")
    assert prompts.critique(ASKED, "Hi.", "Is it rude?").messages[-1]["content"] == "Look hard. Is it rude?"
    assert prompts.critique(ASKED, "Hi.", "Is it rude?").messages[4]["content"].startswith("Look hard. ") is False
    assert compare(prompts) == compare(OURS)


def test_a_replaced_template_asks_the_few_shots_too(tmp_path: Path) -> None:
    prompts = load(tmp_path, critique="Look hard. {{ request }}")
    shot = prompts.few_shots.critique_revise[0]
    turns = [message["content"] for message in prompts.critique(ASKED, "Hi.", "Is it rude?").messages]
    assert f"Look hard. {shot.critique_request}" in turns


def test_settings_that_a_template_does_not_make_are_ours(tmp_path: Path) -> None:
    rendered = compare(load(tmp_path, compare="{{ first }}|{{ second }}|{{ question }}"))
    assert rendered.messages[-2]["content"] == "one|two|Which?"
    assert rendered.messages[-1]["content"] == "The answer is: ("
    assert rendered.options == ("A", "B")


def test_a_template_makes_its_own_settings(tmp_path: Path) -> None:
    text = """{% set prefill = "Number" %}{% set options = ["1", "2"] %}{% set closing = "!" %}{% set _mine = 3 %}
{{ first }} {{ second }} {{ question }}{{ _mine }}"""
    rendered = compare(load(tmp_path, compare=text))
    assert rendered.messages[-1]["content"] == "Number"
    assert rendered.options == ("1", "2")
    answers = [message["content"] for message in rendered.messages if message["role"] == "assistant"]
    assert answers[:5] == ["Number2!", "Number1!", "Number1!", "Number2!", "Number2!"]


def test_the_respond_template_is_the_system_message(tmp_path: Path) -> None:
    prompts = load(tmp_path, respond="Be a pirate. {{ system }}")
    assert prompts.respond(ASKED).messages[0] == {"role": "system", "content": "Be a pirate. "}
    assert prompts.critique(ASKED, "Ahoy.", "Is it rude?").messages[0]["role"] == "user"


def test_a_template_may_tell_direct_revisions_apart(tmp_path: Path) -> None:
    prompts = load(tmp_path, revise="{{ 'After the critique:' if critique else 'At once:' }} {{ request }}")
    turns = [message["content"] for message in prompts.revise(ASKED, "Hi.", None, "Mend it.").messages]
    assert turns[-1] == "At once: Mend it."
    assert not any(turn.startswith("After the critique:") for turn in turns)


def test_a_template_may_lay_out_the_conversation_itself(tmp_path: Path) -> None:
    text = (
        "{% for m in conversation %}[{{ m.role }}] {{ m.content }}{% endfor %} {{ first }} {{ second }} {{ question }}"
    )
    assert compare(load(tmp_path, compare=text)).messages[-2]["content"] == "[user] Hello one two Which?"


# Faults ---------------------------------------------------------------------------------------------------------------


def test_a_variable_that_does_not_exist_is_found_with_its_line(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, critique="Consider:\n\n  {{ reqest }}\n{{ request }}")
    assert (fault.file, fault.line) == (str(tmp_path / "critique.jinja"), 3)
    assert "'reqest'" in fault.message
    assert fault.hint == "did you mean 'request'?"


def test_a_variable_of_another_template_does_not_exist_here(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, proposition="{{ response }}{{ question }}{{ first }}")
    assert "no variable 'first'" in fault.message


@pytest.mark.parametrize("missing", ["first", "second", "question"])
def test_a_judge_that_is_not_shown_something_is_refused(tmp_path: Path, missing: str) -> None:
    shown = [f"{{{{ {name} }}}}" for name in ("first", "second", "question") if name != missing]
    (fault,) = faults(tmp_path, compare=" ".join(shown))
    assert f"never uses '{missing}'" in fault.message


def test_a_question_that_one_layout_leaves_out_is_refused(tmp_path: Path) -> None:
    text = "{{ first }}{{ second }}{% if layout == 'paper' %}{{ question }}{% endif %}"
    (fault,) = faults(tmp_path, compare=text)
    assert fault.message == "'question' is not shown in the layout shared_first"


def test_a_layout_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInput, match=r"no layout 'papr' \(did you mean 'paper'\?\)"):
        PromptSet.load(layout="papr")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("{{ request }}\n{% if %}", 2, "not a Jinja template: Expected an expression"),
        ("{{ request }}\n\n{{ request | shout }}", 3, "No filter named 'shout'"),
        (
            "{{ request }}\n{% for turn in conversation %}\n{{ turn.contents }}\n{% endfor %}",
            3,
            "no attribute 'contents'",
        ),
        ("{{ request }}\n{{ 1 / 0 }}", 2, "division by zero"),
        ("{{ request }}\n{{ request.__class__.__mro__ }}", 2, "cannot be rendered"),
        ("{{ request }}\n{{ conversation[0].clear() }}", 2, "access to attribute 'clear' of 'dict' object is unsafe"),
        ("{{ request }}\n{% include 'compare.jinja' %}", 2, "cannot take in another"),
        ("{{ request }}\n{% set stop = 'END' %}", 2, "'stop' must be a list of texts"),
        ("{{ request }}\n{% set prefill = 'x' %}", 2, "no setting 'prefill' here"),
        ("{{ request }}\n{% for i in range(99999) %}{{ request * 9 }}{% endfor %}", 0, "1,000,000 are allowed"),
    ],
)
def test_a_broken_template_is_found_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    (fault,) = faults(tmp_path, critique=text)
    assert message in fault.message
    assert fault.line == line
    if line:
        assert fault.file == str(tmp_path / "critique.jinja")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("options = ['A']", "must be a list of two texts"),
        ("options = ['A', 'A']", "names one option twice"),
        ("optoins = ['A', 'B']", "no setting 'optoins' here"),
        ("prefill = 'The answer is: '", "ends with white space"),
        ("prefill = 'Of ' ~ question", "changes with the variables"),
        ("closing = 3", "must be text, and is 3"),
        ("closing = first.nobody", "'closing' is set to what is not there"),
        ("options = ['A', first.nobody]", "'options' is set to what is not there"),
    ],
)
def test_a_setting_that_would_spoil_labels_is_refused(tmp_path: Path, setting: str, message: str) -> None:
    (fault,) = faults(tmp_path, compare=f"{{{{ first }}}}{{{{ second }}}}{{{{ question }}}}\n{{% set {setting} %}}")
    assert message in fault.message
    assert fault.line == 2


def test_every_fault_of_every_template_is_told_at_once(tmp_path: Path) -> None:
    found = faults(tmp_path, critique="{{ rquest }}", revise="{{ request }}{% endif %}", compare="{{ first }}")
    assert {Path(fault.file).name for fault in found} == {"critique.jinja", "revise.jinja", "compare.jinja"}
    assert len(found) == 5  # rquest, request unused; endif; second and question unused


def test_faults_of_templates_and_few_shots_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "critique.jinja").write_text("{{ reqest }}{{ request }}")
    (tmp_path / "compare.yaml").write_text("exmaples: []")
    with pytest.raises(BadInput) as caught:
        PromptSet.load(tmp_path, tmp_path)
    assert {Path(fault.file).name for fault in caught.value.faults} == {"critique.jinja", "compare.yaml"}


def test_a_misspelt_file_name_is_not_passed_over(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, comprae="{{ first }}")
    assert fault.file == str(tmp_path / "comprae.jinja")
    assert fault.hint == "did you mean 'compare.jinja'?"


def test_a_folder_that_is_none_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path)
    assert "holds no template" in fault.message
    with pytest.raises(BadInput, match="no such folder of templates"):
        PromptSet.load(tmp_path / "nowhere")


def test_what_fails_only_on_some_text_names_the_line(tmp_path: Path) -> None:
    prompts = load(tmp_path, critique="{{ request }}\n{{ 1 / (response | length) }}")
    with pytest.raises(BadInput, match=r"critique\.jinja:2: template critique: .*division by zero"):
        prompts.critique(ASKED, "", "Is it rude?")


# The hash -------------------------------------------------------------------------------------------------------------


def test_the_hash_does_not_depend_on_what_is_asked_or_where_files_are(tmp_path: Path) -> None:
    for path in TEMPLATES_FOLDER.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    assert PromptSet.load(tmp_path).hashes == OURS.hashes
    assert compare(OURS).template_hash == OURS.compare(ASKED, "x", "y", "z").template_hash == OURS.hashes["compare"]
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in OURS.hashes.values())


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("respond", {"respond"}),
        ("critique", {"critique", "revise"}),
        ("revise", {"critique", "revise", "revise_directly"}),  # a critique's few-shots hold revisions
        ("transcript", {"compare", "reason", "reason_verdict", "proposition", "rate"}),
        ("compare", {"compare"}),
        ("reason", {"reason", "reason_verdict"}),
        ("reason_verdict", {"reason", "reason_verdict"}),
        ("proposition", {"proposition"}),
        ("rate", {"rate"}),
    ],
)
def test_the_hash_changes_with_the_template_and_only_then(tmp_path: Path, name: str, changed: set[str]) -> None:
    prompts = load(tmp_path, **{name: f"{(TEMPLATES_FOLDER / f'{name}.jinja').read_text()} "})
    assert {call for call in OURS.hashes if prompts.hashes[call] != OURS.hashes[call]} == changed


def test_the_hash_changes_with_the_few_shots_and_the_layout() -> None:
    def changed(prompts: PromptSet) -> set[str]:
        return {call for call in OURS.hashes if prompts.hashes[call] != OURS.hashes[call]}

    assert changed(PromptSet.load(use_few_shots=False)) == set(OURS.hashes) - {"respond", "rate"}
    judged = {"compare", "reason", "reason_verdict", "proposition", "rate"}
    assert changed(PromptSet.load(layout="paper")) == judged
    bare, bare_paper = PromptSet.load(use_few_shots=False), PromptSet.load(use_few_shots=False, layout="paper")
    assert {call for call in OURS.hashes if bare.hashes[call] != bare_paper.hashes[call]} == judged


def test_every_kind_of_call_has_a_template_of_ours() -> None:
    assert {path.stem for path in TEMPLATES_FOLDER.iterdir()} == set(KINDS)


def test_a_scale_has_steps_that_differ(tmp_path: Path) -> None:
    text = "{{ response }}{{ question }}"
    assert load(tmp_path, rate='{% set scale = ["a", "b", "c"] %}' + text).rate(ASKED, "x", "y").options == tuple("abc")
    (fault,) = faults(tmp_path, rate='{% set scale = ["1", "1"] %}' + text)
    assert "names one step twice" in fault.message
    (fault,) = faults(tmp_path, rate='{% set scale = ["1"] %}' + text)
    assert "from the lowest to the highest" in fault.message
