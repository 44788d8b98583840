"""A bad file gets one fault for each thing that is wrong, at its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from constitution.faults import BadInput, Fault
from constitution.yaml_files import MOST_NODES, load_yaml, load_yaml_text, parse_document


class Engine(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    window: int = Field(default=8, ge=1)


class Stage(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str
    share: float = 1.0
    engine: Engine | str | None = None
    fast: bool = False
    stop: list[str] | str = ""


class Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    stages: list[Stage] = []
    engines: dict[str, Engine] = {}


def faults(text: str, **overrides: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load_yaml_text(text, Recipe, "r.yaml", {key.replace("__", "."): value for key, value in overrides.items()})
    return [str(fault) for fault in caught.value.faults]


def test_every_fault_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = """\
name: 1.0
stages:
  - id: a
    shrae: 2
    share: many
    share: 3
  - share: 0.5
    engine: {name: x, windw: 3}
  - nothing
engines:
  big: {name: b, window: 0}
  small: [1]
nmae: x
"""
    assert faults(text) == [
        "r.yaml:1:7: 'name' must be text, found the number 1.0 (in quotes: \"1.0\")",
        "r.yaml:4:5: stages[0] 'a': unknown key 'shrae' (did you mean 'share'?)",
        "r.yaml:5:12: stages[0] 'a': 'share' must be a number, found text 'many'",
        "r.yaml:6:5: stages[0]: the key 'share' is already given in line 5 (keep one of the two)",
        "r.yaml:7:5: stages[1]: the key 'id' is missing (add it)",
        "r.yaml:8:23: stages[1].engine: unknown key 'windw' (did you mean 'window'?)",
        "r.yaml:9:5: stages[2]: this entry must be keys and values, found text 'nothing'",
        "r.yaml:11:26: engines.big: 'window' must be at least 1, found the number 0",
        "r.yaml:12:10: engines: 'small' must be keys and values, found a list of 1",
        "r.yaml:13:1: unknown key 'nmae' (did you mean 'name'?)",
    ]


def test_a_wrong_type_of_a_union_is_one_fault() -> None:
    assert faults("name: x\nstages:\n  - {id: a, stop: 3}\n") == [
        "r.yaml:3:19: stages[0] 'a': 'stop' must be a list or text, found the number 3"
    ]
    assert faults("name: x\nstages:\n  - {id: a, stop: [b, 3]}\n") == [
        "r.yaml:3:23: stages[0] 'a', stop[1]: this entry must be text, found the number 3 (in quotes: \"3\")"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "r.yaml: the file is empty (it needs at least one key)"),
        ("# only a comment\n", "r.yaml: the file is empty (it needs at least one key)"),
        ("- a\n", "r.yaml:1:1: the file must hold keys and values, and holds a list of 1"),
        ("just words\n", "r.yaml:1:1: the file must hold keys and values, and holds text 'just words'"),
        (
            "name: a: b\n",
            "r.yaml:1:8: not YAML: mapping values are not allowed here (put text that holds a colon in quotes",
        ),
        ("name: x\n\tstages: 1\n", "r.yaml:2:1: not YAML: while scanning for the next token found character '\\t'"),
        ('name: "x\n', "r.yaml:2:1: not YAML: while scanning a quoted scalar found unexpected end of stream"),
        ("name: x\n---\nname: y\n", "r.yaml:2:1: not YAML: expected a single document"),
        ("name: a\x00b\n", "r.yaml:1: the character '\\x00' is not allowed in YAML"),
        ("name: !!python/object:os.system {}\n", "r.yaml:1:7: 'name' must be text, found keys and values"),
        ("name: !secret x\n", "r.yaml:1:7: the tag !secret is not read"),
        ("base: &b {a: 1}\nname: x\nengines: {<<: *b}\n", "r.yaml:3:11: engines: merge keys (<<) are not read"),
        ("name: *missing\n", "r.yaml:1:7: not YAML: found undefined alias 'missing'"),
        ("name: &a [*a]\n", "r.yaml:1:7: alias cycle"),
        ("? [a, b]\n: c\nname: x\n", "r.yaml:1:3: a key must be one word"),
        ("name: " + "[" * 3000, "r.yaml: the values are nested too deeply to read"),
    ],
)
def test_text_that_cannot_be_read_has_its_own_message(text: str, message: str) -> None:
    assert any(fault.startswith(message) for fault in faults(text)), faults(text)


def test_aliases_cannot_unfold_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert f"unfold to more than {MOST_NODES:,} values" in faults("\n".join(lines))[0]


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"name: a\nstages: []\n# caf\xe9\n")

    def fault(name: str) -> Fault:
        with pytest.raises(BadInput) as caught:
            load_yaml(tmp_path / name, Recipe)
        (only,) = caught.value.faults
        assert only.file == str(tmp_path / name)
        return only

    assert (fault("recipe.yaml").line, fault("recipe.yaml").message) == (3, "the byte 0xe9 is not UTF-8")
    assert fault("recipes.yaml").message == "there is no such file"
    assert fault("recipes.yaml").hint == "did you mean 'recipe.yaml'?"
    assert fault("").message == "this is a folder, not a file"
    assert "cannot be read" in fault("recipe.yaml/inside").message


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert load_yaml(path, Recipe).name == "x"


def test_words_dates_and_numbers_are_what_they_look_like() -> None:
    document = parse_document("a: yes\nb: 2026-01-02\nc: 0x10\nd: true\ne:\nf: '1'\n1: g\n", "r.yaml")
    assert document.data == {"a": "yes", "b": "2026-01-02", "c": 16, "d": True, "e": None, "f": "1", "1": "g"}
    assert document.positions[("c",)] == (3, 4)
    assert document.key_positions[("d",)] == (4, 1)


TEXT = "name: x\nstages:\n  - {id: a, share: 0.5}\n"


def test_overrides_are_read_as_yaml_and_create_what_is_missing() -> None:
    recipe = load_yaml_text(
        TEXT,
        Recipe,
        overrides={
            "stages.0.share": "2",
            "stages.0.stop": "[a, b]",
            "engines.big.name": "org/model:latest",
            "name": "@home",
            "engines.big.window": "4",
        },
    )
    assert (recipe.name, recipe.stages[0].share, recipe.stages[0].stop) == ("@home", 2.0, ["a", "b"])
    assert recipe.engines["big"] == Engine(name="org/model:latest", window=4)


def test_faults_of_overrides_name_the_override() -> None:
    assert faults(TEXT, stages__0__share="much") == [
        "--set stages.0.share: 'share' must be a number, found text 'much'"
    ]
    assert faults(TEXT, nmae="y") == ["--set nmae: unknown key 'nmae' (did you mean 'name'?)"]
    assert faults(TEXT, name__first="y") == ["--set name.first: name holds text 'x', so nothing can be set inside it"]
    assert faults(TEXT, stages__3__id="y") == [
        "--set stages.3.id: stages is a list of 1, and '3' is none of its entries (write a number from 0 to 0)"
    ]
    assert faults(TEXT, stages____id="y") == [
        "--set stages..id: a part of the key is empty (write it as section.key=value)"
    ]


PIECES = [
    "name: x\n",
    "stages:\n",
    "  - id: a\n",
    "engines: ",
    *" \n\t-[]{}&*!|>'\"%@`#,?:a1",
    "<<: *a\n",
    "&a ",
    "---\n",
]


@settings(max_examples=200, deadline=None)
@example("&0[&0")
@given(st.text(st.characters(codec="utf-8"), max_size=80) | st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_text_is_read_or_is_bad_input(text: str) -> None:
    found: tuple[Fault, ...] = ()
    try:
        load_yaml_text(text, Recipe, "r.yaml")
    except BadInput as error:
        found = error.faults or (Fault("an error without a fault"),)
    assert all(fault.file == "r.yaml" for fault in found)
