"""Other people's formats become constitutions, with ids that stay the same, or one clear fault."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from constitution import BadInput, Constitution, built_in_names, load_constitution, to_yaml
from constitution.importing import import_constitution
from constitution.lint import lint
from constitution.loading import load_constitution_text

PAPER = Path(__file__).parents[2].parent / "shared" / "data" / "constitutional-ai-paper"
paper = pytest.mark.skipif(not PAPER.is_dir(), reason=f"the paper's files are not in {PAPER}")


def write(folder: Path, content: object, name: str = "file.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def texts_of(constitution: Constitution) -> list[str]:
    return [
        text for each in constitution.principles for text in (each.critique, each.revision, each.comparison) if text
    ]


@paper
def test_both_halves_of_the_paper_make_one_constitution() -> None:
    files = [PAPER / "CritiqueRevisionInstructions.json", PAPER / "RLMadisonInstructions.json"]
    constitution = import_constitution(files, name="paper")
    assert (len(constitution.for_revision()), len(constitution.for_comparison())) == (16, 16)
    assert [each.id for each in constitution.for_revision()] == [f"harmful{index}" for index in range(16)]
    texts = texts_of(constitution)
    assert len(texts) == 48
    assert not [text for text in texts if re.search(r"Request:|Critique:$|Revision:$|Options:|^\s|\s$", text)]
    assert {finding.rule for finding in lint(constitution)} == {"no-tests", "no-propositions"}
    assert constitution.principles[0].source == "Imported from CritiqueRevisionInstructions.json."
    frozen = load_constitution_text(to_yaml(constitution))
    assert frozen.hash == constitution.hash == import_constitution(files, "cai", "other name").hash


@paper
@pytest.mark.parametrize("name", built_in_names())
def test_our_own_texts_are_not_the_papers(name: str) -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[start : start + 7]) for start in range(len(words) - 6)}

    files = [PAPER / "CritiqueRevisionInstructions.json", PAPER / "RLMadisonInstructions.json"]
    theirs = set().union(*map(runs, texts_of(import_constitution(files))))
    assert not [text for text in texts_of(load_constitution(name)) if runs(text) & theirs]


@paper
@pytest.mark.parametrize("name", ["CritiqueRevisionFewShotPrompts.json", "RLMadisonFewShotPrompts.json"])
def test_the_papers_few_shots_are_not_taken_for_a_constitution(name: str) -> None:
    with pytest.raises(BadInput):
        import_constitution(PAPER / name)


def test_the_papers_shapes(tmp_path: Path) -> None:
    critiques = {
        "rude_0": {
            "prompt": ["\n\nCritiqueRequest: What is rude?\n\nCritique:"],
            "edit_request": "\n\nRevisionRequest: Be polite.\n\nRevision:",
        }
    }
    constitution = import_constitution(
        [write(tmp_path, critiques), write(tmp_path, ["\nPick the politer. Options:"], "b.json")]
    )
    revising, comparing = constitution.principles
    assert (revising.id, revising.critique, revising.revision) == ("rude-0", "What is rude?", "Be polite.")
    assert (comparing.comparison, comparing.critique) == ("Pick the politer.", None)
    assert re.fullmatch(r"pick-politer-options-[0-9a-f]{4}", comparing.id)
    assert constitution.name == "file"


def test_llm_swarm(tmp_path: Path) -> None:
    data = {"constitutions": [{"critic": "Is it rude?", "revision": "Be polite."}], "system_chat": []}
    (principle,) = import_constitution(write(tmp_path, data)).principles
    assert (principle.critique, principle.revision, principle.comparison) == ("Is it rude?", "Be polite.", None)


def test_langchain_takes_names_and_tells_the_unnamed_apart(tmp_path: Path) -> None:
    data = [
        {"name": "Ethical Principle", "critique_request": "a", "revision_request": "b"},
        {"name": "Ethical Principle", "critique_request": "c", "revision_request": "d"},
        {"name": "Constitutional Principle", "critique_request": "Name each insult.", "revision_request": "Drop it."},
    ]
    ids = [each.id for each in import_constitution(write(tmp_path, data)).principles]
    assert ids[:2] == ["ethical-principle", "ethical-principle-2"]
    assert ids[2].startswith("name-each-insult-")


def test_an_inverse_constitution_compares_as_it_is_worded(tmp_path: Path) -> None:
    texts = ["Select the response that is shorter.", "Be polite"]
    shorter, polite = import_constitution(write(tmp_path, texts)).principles
    assert shorter.comparison == "Select the response that is shorter."
    assert polite.comparison == "Which response better keeps this principle: “Be polite” Choose that one."
    assert polite.critique is not None
    assert polite.revision is not None
    assert "“Be polite”" in polite.critique
    assert "“Be polite”" in polite.revision
    keyed = import_constitution(write(tmp_path, {"0": texts[0], "1": texts[1]}, "keyed.json"))
    assert [each.id for each in keyed.principles] == [shorter.id, polite.id]


def test_plain_text_is_one_principle_a_line(tmp_path: Path) -> None:
    text = "# my rules\n\n- Be polite: {{ always }}\n2. Say 'no' 100 % clearly\nUse café manners\n"
    constitution = import_constitution(write(tmp_path, text, "my rules.txt"))
    assert constitution.name == "my rules"
    quoted = [re.findall("“(.*)”", each.comparison or "")[0] for each in constitution.principles]
    assert quoted == ["Be polite: {{ always }}", "Say 'no' 100 % clearly", "Use café manners"]
    moved = import_constitution(write(tmp_path, "Use café manners\nBe polite: {{ always }}\n", "b.txt"))
    assert {each.id for each in moved.principles} < {each.id for each in constitution.principles}


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.json", "a.json: the file is empty"),
        ("{", "a.json", "a.json:1:2: not JSON: Expecting property name"),
        ("# nothing\n", "a.txt", "a.txt: the file holds no principles"),
        ("name: x\n", "a.yaml", "a.yaml: YAML is Charter's own format and needs no import"),
        (
            "id,prompt\n1,x\n",
            "a.csv",
            "a.csv:1:1: not JSON: Expecting value (for one principle a line, say --format text)",
        ),
        ([], "a.json", "a.json: no known format: the file holds a list of 0"),
        (3, "a.json", "a.json: no known format: the file holds the number 3"),
        ([{"x": 1}], "a.json", "a.json: no known format: the file holds a list of 1 whose first is keys and values"),
        (["Be kind", 3], "a.json", "a.json: [1]: the principle must be text, found the number 3"),
        (["Be kind", ""], "a.json", "a.json: [1]: the principle must be text, found empty text"),
        (["Be kind", "Be\nbad"], "a.json", "a.json: [1]: a principle must be one line of text"),
        (["Be kind", "Be kind"], "a.json", "a.json: [1]: says the same as [0] (delete one of the two)"),
        ("Be kind\n\n- Be kind\n", "a.txt", "a.txt: line 3: says the same as line 1 (delete one of the two)"),
        (
            {"constitutions": [{"critic": "a"}]},
            "a.json",
            "a.json: constitutions[0]: revision must be text, found nothing",
        ),
        ({"constitutions": "a"}, "a.json", "a.json: constitutions must be a list of keys and values, found text 'a'"),
        ({"constitutions": [3]}, "a.json", "a.json: constitutions[0]: must be keys and values, found the number 3"),
        ([{"critique_request": "a"}], "a.json", "a.json: [0]: revision_request must be text, found nothing"),
        ({"h": {"edit_request": "a", "prompt": []}}, "a.json", "a.json: 'h': prompt must be text, found a list of 0"),
        (
            {"h": {"edit_request": 3, "prompt": ["a"]}},
            "a.json",
            "a.json: 'h': edit_request must be text, found the number",
        ),
    ],
)
def test_a_wrong_shape_is_one_clear_fault(tmp_path: Path, content: object, name: str, message: str) -> None:
    path = write(tmp_path, content, name)
    with pytest.raises(BadInput) as caught:
        import_constitution(path)
    (fault,) = caught.value.faults
    assert str(fault).removeprefix(f"{tmp_path}/").startswith(message)


def test_a_format_that_is_named_must_fit(tmp_path: Path) -> None:
    path = write(tmp_path, ["Be kind"])
    for format_name, message in [
        ("llm-swarm", r"must look like \{constitutions: \[\{critic, revision\}\]\}, found a list of 1"),
        ("langchain", r"\[0\]: must be keys and values, found text 'Be kind'"),
        ("nonsense", r"unknown format 'nonsense' \(known: auto, cai"),
    ]:
        with pytest.raises(BadInput, match=message):
            import_constitution(path, format_name)
    with pytest.raises(BadInput, match="there is no such file"):
        import_constitution(tmp_path / "no.json")
    with pytest.raises(BadInput, match="no file to import"):
        import_constitution([])
