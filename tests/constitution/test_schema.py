"""The fields of a constitution, what makes two the same, and the JSON Schema that editors read."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest

from constitution import BadInput, load_constitution
from constitution.hashing import content_hash
from constitution.loading import load_constitution_text
from constitution.schema import SCHEMA_FILE, Constitution, Principle, json_schema

BASE = {"id": "kind", "critique": "What is unkind?", "revision": "Be kind.", "comparison": "Which is kinder?"}


def faults(principles: str, head: str = "name: x\n") -> list[str]:
    with pytest.raises(BadInput) as caught:
        load_constitution_text(f"{head}principles:\n{principles}", "c.yaml")
    return [str(fault) for fault in caught.value.faults]


def one(**fields: object) -> Principle:
    return Principle.model_validate({**BASE, **fields})


def whole(*principles: Principle, **fields: object) -> Constitution:
    return Constitution.model_validate({"name": "x", "principles": principles, **fields})


def test_schema_json_is_in_step_with_the_models() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == json_schema(), "run: python -m constitution.schema"


def test_every_field_is_explained_to_editors() -> None:
    schema = json.loads(json_schema())
    models = [schema, *schema["$defs"].values()]
    assert {model["title"] for model in models} == {"Constitution", "Principle", "PrincipleTest", "Proposition"}
    for model in models:
        assert model["additionalProperties"] is False
        for name, field in model["properties"].items():
            assert len(field["description"]) > 15, f"{model['title']}.{name}"


def test_repeated_ids_are_reported_together_with_other_faults() -> None:
    text = "  - {id: kind, comparison: Which?}\n  - {id: kind, comparison: Which?, wieght: 2}\n  - {id: Not Kind}\n"
    assert faults(text) == [
        "c.yaml:4:10: principles[1] 'kind': the id 'kind' is already taken by principles[0] (give it an id of its own)",
        "c.yaml:4:36: principles[1] 'kind': unknown key 'wieght' (did you mean 'weight'?)",
        "c.yaml:5:10: principles[2] 'Not Kind': 'Not Kind' cannot be a name: use lower-case letters, digits and hyphens"
        " (write 'not-kind')",
    ]


@pytest.mark.parametrize(
    ("principle", "message"),
    [
        ("{id: a}", "c.yaml:3:5: principles[0] 'a': the principle asks for nothing (add 'critique' and"),
        ("{id: a, critique: x}", "c.yaml:3:5: principles[0] 'a': it has 'critique' but no 'revision' (write both"),
        ("{id: a, revision: x}", "c.yaml:3:5: principles[0] 'a': it has 'revision' but no 'critique' (write both"),
        ("{id: a, comparison: ' '}", "c.yaml:3:25: principles[0] 'a': 'comparison' is empty (write something"),
        ("{id: a, comparison: x, weight: 0}", "c.yaml:3:36: principles[0] 'a': 'weight' must be more than 0, found"),
        ("{id: a, comparison: x, weight: .inf}", "c.yaml:3:36: principles[0] 'a': 'weight' must be a finite number"),
        (
            "{id: a, comparison: x, axis: harmles}",
            "c.yaml:3:34: principles[0] 'a': 'axis' must be 'helpful', 'harmless'",
        ),
        ("{id: a, comparison: x, risk: illicit}", "c.yaml:3:34: principles[0] 'a': 'risk' must be a list, found text"),
    ],
)
def test_faults_of_a_principle(principle: str, message: str) -> None:
    (fault,) = faults(f"  - {principle}\n")
    assert fault.startswith(message)


def test_a_proposition_may_be_shared_but_not_ask_two_things() -> None:
    first = "  - {id: a, comparison: x, propositions: [{id: p, question: Is it bad?, bad_answer: yes}]}\n"
    same = load_constitution_text(f"name: x\nprinciples:\n{first}{first.replace('id: a', 'id: b')}", "c.yaml")
    assert [each.question for each in same.propositions()] == ["Is it bad?"]
    assert faults(first + first.replace("id: a", "id: b").replace("bad?", "good?")) == [
        "c.yaml:4:48: principles[1] 'b', propositions[0] 'p': the proposition 'p' asks something else elsewhere"
        " (give it an id of its own, or the same question)"
    ]


def test_a_constitution_needs_principles_and_remove_needs_extends() -> None:
    with pytest.raises(BadInput, match="has no principles"):
        load_constitution_text("name: x\n")
    with pytest.raises(BadInput, match="'remove' needs 'extends'"):
        load_constitution_text("name: x\nremove: [a]\nprinciples: [{id: a, comparison: Which?}]\n")


def test_a_principle_hash_covers_what_a_model_is_asked_and_nothing_else() -> None:
    check = {"id": "p", "question": "Is it bad?", "bad_answer": "yes"}
    plain = one()
    for field in ("critique", "revision", "comparison"):
        assert one(**{field: "Something else."}).hash != plain.hash
    assert one(propositions=[check]).hash != plain.hash
    assert one(propositions=[check]).hash != one(propositions=[{**check, "bad_answer": "no"}]).hash
    test = {"prompt": "a", "better": "b", "worse": "c"}
    assert (
        one(id="other", weight=5, axis="honest", risk=["illicit"], tags=["x"], source="s", tests=[test]).hash
        == plain.hash
    )
    assert one(comparison=" Which is kinder?\n").hash == plain.hash
    assert len(plain.hash) == 16


def test_a_constitution_hash_covers_what_changes_a_run() -> None:
    brief = one(id="brief", comparison="Which is shorter?")
    plain = whole(one(), brief)
    assert whole(brief, one(), name="y", version="9").hash == plain.hash
    assert whole(one(tests=[{"prompt": "a", "better": "b", "worse": "c"}], tags=["x"]), brief).hash == plain.hash
    changed = [
        whole(one(weight=2), brief),
        whole(one(risk=["illicit"]), brief),
        whole(one(axis="honest"), brief),
        whole(one(id="kinder"), brief),
        whole(one(comparison="Which?"), brief),
        whole(one()),
        whole(one(), brief, preamble="Be good."),
    ]
    assert len({plain.hash, *(each.hash for each in changed)}) == len(changed) + 1


def test_hashes_do_not_move_between_releases() -> None:
    """Stored labels are found again by these hashes: a change here makes every stored label stale."""
    assert one().hash == "02cd8ec933562ce5"
    assert whole(one()).hash == "d7da02e9b09413b5"
    assert content_hash({"b": [1, "é"], "a": None}) == "f8f17faab95c0248"


def test_pools_follow_the_texts_and_the_category() -> None:
    constitution = whole(
        one(id="all"),
        one(id="crime", risk=["illicit"], comparison=None),
        one(id="hate", risk=["hateful", "own-word"], critique=None, revision=None),
    )

    def ids(pool: tuple[Principle, ...]) -> list[str]:
        return [each.id for each in pool]

    assert ids(constitution.for_revision()) == ["all", "crime"]
    assert ids(constitution.for_comparison()) == ["all", "hate"]
    assert ids(constitution.for_revision("illicit")) == ["all", "crime"]
    assert ids(constitution.for_comparison("own-word")) == ["all", "hate"]
    assert ids(constitution.for_comparison("illicit")) == ["all", "hate"]  # no comparison names the category
    assert ids(constitution.for_revision("cybercrime")) == ["all", "crime"]  # a word of the input's own vocabulary
    assert constitution.risk_categories == ("hateful", "illicit", "own-word")


def test_a_known_category_leaves_other_categories_out() -> None:
    constitution = load_constitution("harmlessness")
    pool = constitution.for_comparison("unqualified_advice")
    assert {"knows-its-limits", "no-sermons"} <= {each.id for each in pool}
    assert "equal-dignity" not in {each.id for each in pool}


def test_an_unknown_principle_is_bad_input_with_a_suggestion() -> None:
    constitution = load_constitution("harmlessness")
    assert constitution.principle_hash("no-sermons") == constitution.principle("no-sermons").hash
    with pytest.raises(BadInput, match=r"no principle 'no-sermon' \(did you mean 'no-sermons'\?\)"):
        constitution.principle("no-sermon")


def test_a_constitution_travels_to_workers() -> None:
    constitution = load_constitution("learning")
    constitution.for_revision("illicit")
    assert pickle.loads(pickle.dumps(constitution)) == constitution
    assert pickle.loads(pickle.dumps(constitution)).hash == constitution.hash


def test_importing_the_package_stays_light() -> None:
    code = "import constitution, sys; sys.exit(bool({'pydantic', 'ruamel', 'torch', 'ray', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
