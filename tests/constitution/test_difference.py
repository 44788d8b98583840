"""What changed between two constitutions, and whose labels go stale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from constitution import load_constitution
from constitution.difference import difference, words_changed
from constitution.schema import Constitution


def made_of(*principles: dict[str, object], **fields: object) -> Constitution:
    texts = [{"comparison": f"Which response is more {each['id']}?", **each} for each in principles]
    return Constitution.model_validate({"name": "x", "principles": texts, **fields})


def test_a_constitution_does_not_differ_from_itself() -> None:
    constitution = load_constitution("harmlessness")
    found = difference(constitution, constitution)
    assert not found
    assert found.unchanged == len(constitution.principles)


def test_only_a_change_of_what_is_asked_makes_labels_stale() -> None:
    old = made_of({"id": "kind"}, {"id": "brief"}, {"id": "true"}, {"id": "calm"})
    new = made_of(
        {"id": "kind", "weight": 3}, {"id": "brief", "comparison": "Which is shorter?"}, {"id": "true"}, {"id": "bold"}
    )
    found = difference(old, new)
    assert [each.id for each in found.added] == ["bold"]
    assert [each.id for each in found.removed] == ["calm"]
    assert [(each.new.id, each.fields, each.stale) for each in found.changed] == [
        ("kind", ("weight",), False),
        ("brief", ("comparison",), True),
    ]
    assert found.stale_hashes == {old.principle_hash("brief"): "brief"}
    assert (found.unchanged, found.preamble) == (1, False)


def test_a_new_name_for_the_same_texts_is_a_renaming() -> None:
    old = made_of({"id": "kind"}, {"id": "true"})
    new = made_of({"id": "kindness", "comparison": "Which response is more kind?"}, {"id": "true"}, preamble="Be good.")
    found = difference(old, new)
    assert found.renamed == (("kind", "kindness"),)
    assert (found.added, found.removed, found.preamble) == ((), (), True)


def test_words_show_what_went_and_what_came() -> None:
    assert list(words_changed("Which is kinder?", "Which is far warmer?")) == [
        ("same", "Which is "),
        ("old", "kinder"),
        ("new", "far warmer"),
        ("same", "?"),
    ]


@given(st.text(max_size=60), st.text(max_size=60))
def test_words_put_together_give_both_texts_back(old: str, new: str) -> None:
    parts = list(words_changed(old, new))
    assert "".join(words for kind, words in parts if kind != "new") == old
    assert "".join(words for kind, words in parts if kind != "old") == new
