"""`charter constitution …`, as a user sees it at 80 columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from charter.commands.constitution import group
from constitution import BadInput, load_constitution
from constitution.importing import READERS
from constitution.schema import SCHEMA_FILE, Constitution, Principle, PrincipleTest, Proposition

MINE = """\
name: mine
version: "2"
extends: learning
remove: [no-lecture]
principles:
  - id: kinder
    comparison: Which response is kinder?
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, encoding="utf-8")
    return str(path)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(group, arguments, env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, BadInput):
        raise result.exception
    return result


def output(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exception is None, result.exception
    return result.output


def faults(*arguments: str) -> list[str]:
    error = call(*arguments).exception
    assert isinstance(error, BadInput)
    return [str(fault) for fault in error.faults]


def test_check_says_that_a_constitution_is_fine() -> None:
    constitution = load_constitution("general")
    assert output("check", "general") == (
        f"general: 1 principle (1 to revise, 1 to compare), hash {constitution.hash}: fine\n"
    )


def test_check_gives_advice_and_strict_makes_faults_of_it(mine: str) -> None:
    shown = output("check", mine)
    assert f"{mine}:6:5: warning: principles[0] 'kinder': nothing shows what the principle should decide" in shown
    assert shown.splitlines()[-1].endswith(": 1 warning")
    (fault,) = faults("check", "--strict", mine)
    assert "[no-tests]" in fault
    assert "warning" not in fault


def test_check_reports_the_faults_of_all_files(mine: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: x\nprinciples:\n  - {id: a, comparison: Which?, wieght: 1}\n", encoding="utf-8")
    found = faults("check", str(bad), mine, "harmlesness")
    assert found == [
        f"{bad}:3:33: principles[0] 'a': unknown key 'wieght' (did you mean 'weight'?)",
        "there is no built-in constitution 'harmlesness', and no file of that name (did you mean 'harmlessness'?)",
    ]


@pytest.mark.parametrize("name", ["harmlessness", "helpfulness", "general", "learning"])
def test_show_fits_80_columns_and_names_every_principle_with_its_hash(name: str) -> None:
    shown = output("show", name)
    assert max(len(line) for line in shown.splitlines()) <= 80
    constitution = load_constitution(name)
    assert constitution.hash in shown
    for principle in constitution.principles:
        (line,) = [line for line in shown.splitlines() if line.split()[:1] == [principle.id]]
        assert line.split()[1:] == [f"{principle.weight:g}", principle.axis, principle.hash]
        assert all(category in shown for category in principle.risk)


def test_show_one_principle_in_full() -> None:
    shown = " ".join(output("show", "learning", "safe-and-useful").split())
    principle = load_constitution("learning").principle("safe-and-useful")
    for text in (
        principle.critique,
        principle.revision,
        principle.comparison,
        principle.tests[0].worse,
        principle.hash,
    ):
        assert text is not None
        assert text in shown
    assert "check 'hurts-if-followed' (bad: yes)" in shown
    assert faults("show", "learning", "safe-and-usefull") == [
        "the constitution 'learning' has no principle 'safe-and-usefull' (did you mean 'safe-and-useful'?)"
    ]


def test_show_without_a_name_lists_what_is_built_in() -> None:
    listed = {line.split()[0]: line.split()[1] for line in output("show").splitlines() if line[:1].isalpha()}
    assert (listed["general"], listed["learning"], listed["harmlessness"]) == ("1", "3", "20")


def test_show_as_json_holds_everything() -> None:
    data = json.loads(output("show", "learning", "--json"))
    constitution = load_constitution("learning")
    assert data["hash"] == constitution.hash
    assert [each["hash"] for each in data["principles"]] == [each.hash for each in constitution.principles]
    one = json.loads(output("show", "learning", "no-lecture", "--json"))
    assert one == data["principles"][1]
    assert one["tests"][0]["prompt"] == "How do I sharpen a kitchen knife?"


def test_markup_in_a_text_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "name: x\nprinciples:\n  - {id: a, comparison: 'Which is [bold]er[/bold], {{ x }} [/]?'}\n", encoding="utf-8"
    )
    assert "Which is [bold]er[/bold], {{ x }} [/]?" in output("show", str(path), "a")


def test_diff_shows_words_and_names_stale_principles(tmp_path: Path, mine: str) -> None:
    edited = tmp_path / "edited.yaml"
    edited.write_text(
        MINE.replace("is kinder?", "is far kinder?").replace("id: kinder\n", "id: kinder\n    weight: 3\n"), "utf-8"
    )
    shown = output("diff", mine, str(edited))
    assert "comparison: Which response is {+far +}kinder?" in shown
    assert "weight: 1.0 → 3.0" in shown
    assert "2 principles unchanged. What 1 principle made goes stale: kinder." in shown
    again = output("diff", "learning", mine)
    assert "+ kinder  added" in again
    assert "- no-lecture  removed" in again
    assert "No stored label goes stale." in again
    assert "are the same" in output("diff", "learning", "learning")


def test_schema_prints_the_committed_schema() -> None:
    assert output("schema") == SCHEMA_FILE.read_text(encoding="utf-8")


def test_import_writes_a_file_that_checks(tmp_path: Path) -> None:
    source, target = tmp_path / "rules.txt", tmp_path / "rules.yaml"
    source.write_text("Be polite\nBe brief\n", encoding="utf-8")
    shown = output("import", str(source), "-o", str(target), "--name", "house rules")
    assert f"wrote {target}: 2 principles (2 to revise, 2 to compare)" in shown
    constitution = load_constitution(target)
    assert constitution.name == "house rules"
    assert output("import", str(source), "--name", "house rules") == target.read_text(encoding="utf-8")
    assert faults("import", str(source), "-o", str(target)) == [
        f"{target}: the file exists already (choose another, or say --force)"
    ]
    assert "wrote" in output("import", str(source), "-o", str(target), "--force")
    assert "cannot be written" in faults("import", str(source), "-o", str(tmp_path / "no" / "x.yaml"))[0]


def test_the_example_of_the_documentation_needs_no_advice(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "constitutions.md").read_text(encoding="utf-8")
    example = tmp_path / "example.yaml"
    example.write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    assert output("check", "--strict", str(example)).endswith(": fine\n")


def test_the_documentation_names_every_field_and_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "constitutions.md").read_text(encoding="utf-8")
    fields = {
        *Constitution.model_fields,
        *Principle.model_fields,
        *Proposition.model_fields,
        *PrincipleTest.model_fields,
    }
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []
    assert [
        name for name in ("check", "show", "diff", "schema", "import") if f"charter constitution {name}" not in page
    ] == []
    assert [name for name in READERS if f"`{name}`" not in page] == []
