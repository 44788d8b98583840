"""Built-in constitutions load; `extends` resolves; what is frozen loads back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from constitution import BadInput, built_in_names, load_constitution, to_yaml
from constitution.loading import load_constitution_text
from constitution.schema import RISK_CATEGORIES, Constitution

PARENT = """\
name: parent
preamble: From the parent.
principles:
  - {id: kind, comparison: Which response is kinder?, weight: 3}
  - {id: brief, comparison: Which response is shorter?}
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return write(tmp_path, "parent.yaml", PARENT)


def faults_of(path: Path | str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load_constitution(path)
    return [str(fault).replace(f"{Path(path).parent}/", "") for fault in caught.value.faults]


@pytest.mark.parametrize("name", built_in_names())
def test_built_in_constitutions_survive_freezing(name: str) -> None:
    constitution = load_constitution(name)
    frozen = load_constitution_text(to_yaml(constitution), "constitution.yaml")
    assert frozen == constitution
    assert frozen.hash == constitution.hash
    assert [each.hash for each in frozen.principles] == [each.hash for each in constitution.principles]


def test_harmlessness_covers_the_three_risk_categories_twice_over() -> None:
    constitution = load_constitution("harmlessness")
    assert constitution.risk_categories == tuple(sorted(RISK_CATEGORIES))
    assert len(constitution.for_revision()) >= 16
    assert len(constitution.for_comparison()) >= 16
    for category in RISK_CATEGORIES:
        assert sum(category in each.risk for each in constitution.principles) >= 3
    assert {"no-sermons", "helps-with-the-rest"} <= {each.id for each in constitution.for_revision()}


def test_the_other_built_in_constitutions_have_their_sizes() -> None:
    assert built_in_names() == ["general", "harmlessness", "helpfulness", "learning"]
    assert len(load_constitution("general").principles) == 1
    assert len(load_constitution("learning").principles) == 3
    assert len(load_constitution("helpfulness").principles) >= 8


@pytest.mark.parametrize("name", built_in_names())
def test_every_built_in_principle_is_tested_and_written_by_us(name: str) -> None:
    for principle in load_constitution(name).principles:
        assert principle.tests, principle.id
        assert None not in (principle.critique, principle.revision, principle.comparison), principle.id
        assert principle.source == "Written for Charter."


def test_extends_overrides_adds_and_removes(tmp_path: Path, parent: Path) -> None:
    child = write(
        tmp_path,
        "child.yaml",
        "name: child\nversion: '2'\nextends: parent.yaml\nremove: [brief]\nprinciples:\n"
        "  - {id: true-to-facts, comparison: Which response is truer?}\n"
        "  - {id: kind, comparison: Which response is warmer?}\n",
    )
    constitution = load_constitution(child)
    assert (constitution.name, constitution.version, constitution.extends) == ("child", "2", None)
    assert constitution.preamble == "From the parent."
    assert [each.id for each in constitution.principles] == ["kind", "true-to-facts"]
    kind = constitution.principle("kind")
    assert (kind.comparison, kind.weight) == ("Which response is warmer?", 1.0)
    assert load_constitution_text(to_yaml(constitution)).hash == constitution.hash


def test_extends_takes_a_built_in_name(tmp_path: Path) -> None:
    child = write(tmp_path, "child.yaml", "name: child\nextends: harmlessness\nremove: [equal-dignity]\n")
    constitution = load_constitution(child)
    assert len(constitution.principles) == len(load_constitution("harmlessness").principles) - 1
    assert constitution.hash != load_constitution("harmlessness").hash


def test_what_extends_says_wrongly_is_found_at_its_place(tmp_path: Path, parent: Path) -> None:
    del parent
    child = write(tmp_path, "child.yaml", "name: child\nextends: parent.yaml\nremove: [kind, breif, pomp]\n")
    assert faults_of(child) == [
        "child.yaml:3:16: 'parent' has no principle 'breif' to remove (did you mean 'brief'?)",
        "child.yaml:3:23: 'parent' has no principle 'pomp' to remove (known: brief, kind)",
    ]
    dangling = write(tmp_path, "dangling.yaml", "name: d\nextends: harmlesness\n")
    assert faults_of(dangling) == [
        "dangling.yaml:2:10: there is no built-in constitution and no file 'harmlesness' (did you mean 'harmlessness'?)"
    ]


def test_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path, "first.yaml", "name: first\nextends: second.yaml\n")
    write(tmp_path, "second.yaml", "name: second\nextends: first.yaml\n")
    assert faults_of(first) == [
        "second.yaml:2:10: the files extend each other in a circle: first.yaml → second.yaml → first.yaml"
    ]
    itself = write(tmp_path, "self.yaml", "name: self\nextends: self.yaml\n")
    assert "in a circle: self.yaml → self.yaml" in faults_of(itself)[0]


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(BadInput, match=r"no built-in constitution 'lerning'.*did you mean 'learning'"):
        load_constitution("lerning")
    with pytest.raises(BadInput, match=r"no-such\.yaml: there is no such file"):
        load_constitution("no-such.yaml")


def test_overrides_reach_a_principle() -> None:
    constitution = load_constitution("learning", {"principles.0.weight": "7", "name": "mine"})
    assert (constitution.name, constitution.principles[0].weight) == ("mine", 7.0)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300).filter(str.strip)
prose = st.lists(
    st.sampled_from(["a:", "#b", "- c", "{{ x }}", "yes", "word", "long-ish-word", "\n", "'", '"', "é", "“x”", "|"])
)


@settings(max_examples=150, deadline=None)
@example("0\x850", "a\u2028b\ufeffc", "\ta \n  b\n\n\nc")
@given(texts, prose.map(" ".join).filter(str.strip), prose.map(lambda words: " ".join(words * 9)).filter(str.strip))
def test_any_text_survives_freezing(critique: str, revision: str, comparison: str) -> None:
    constitution = Constitution.model_validate(
        {
            "name": critique,
            "preamble": comparison,
            "principles": [{"id": "p", "critique": critique, "revision": revision, "comparison": comparison}],
        }
    )
    assert load_constitution_text(to_yaml(constitution)) == constitution
