"""The docs say what the code does: commands, options, recipe keys and columns."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest

from charter.__main__ import COMMANDS, Commands, cli
from charter.loop import loop_of, steps_of
from charter.recipe import Recipe
from charter.training import settings_class
from constitution.yaml_files import parse_document
from engine import filtering, flags, pairs, products, records
from engine.settings import FlagPolicies
from prompts.messages import Message

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
# Options of other programs that the pages name.
FOREIGN = {
    "--working-dir", "--address", "--shm-size", "--no-deps", "--served-model-name", "--generation-config",
    "--enable-prompt-tokens-details", "--head", "--entrypoint-num-cpus",
}  # fmt: skip

RECORDS: dict[str, Any] = {
    name: getattr(module, name)
    for module in (records, products, pairs)
    for name, item in vars(module).items()
    if isinstance(item, type) and is_dataclass(item) and item.__module__ == module.__name__ and name[0] != "_"
} | {"PairFlags": flags.PairFlags, "Flag": flags.Flag, "RemovedPair": filtering.RemovedPair}


def command_of(words: list[str]) -> click.Command | None:
    """The command that these words call; None where there is none."""
    assert isinstance(cli, Commands)
    found: click.Command = cli
    for word in words:
        if not isinstance(found, click.Group) or not (word in COMMANDS or re.fullmatch(r"[a-z]+", word)):
            return found
        inner = found.get_command(click.Context(found), word)
        if inner is None:
            return None
        found = inner
    return found


def options_of(command: click.Command) -> set[str]:
    names = {"--help"} | ({"--version"} if isinstance(command, Commands) else set())
    return names | {name for item in command.params for name in (*item.opts, *item.secondary_opts)}


def all_options() -> set[str]:
    found = set[str]()
    for name in COMMANDS:
        command = command_of([name])
        assert command is not None
        inner = command.commands.values() if isinstance(command, click.Group) else [command]
        found.update(*(options_of(each) for each in inner))
    return found


def called(page: Path) -> list[str]:
    """Every line of code of a page that calls charter, from `charter` on."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|bash|console)?\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [re.search(r"(?:^|\s)charter ((?:-|[a-z])[^#|;]*)", line.split("#")[0]) for line in lines]
    return [match[1] for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for line in called(page):
        words = [word.strip("…") for word in line.split()]
        command = command_of([word for word in words if not word.startswith("-")][:2])
        assert command is not None, f"{page.name}: charter {line}: there is no such command"
        unknown = set(OPTION.findall(line)) - options_of(command)
        assert not unknown, f"{page.name}: charter {line}: no option {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_named_alone_exist(page: Path) -> None:
    code = " ".join(re.findall(r"`(--[^`\n]+)`", page.read_text(encoding="utf-8")))
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    theirs = set(re.findall(r'"(--[a-z-]+)', scripts))
    unknown = set(OPTION.findall(code)) - all_options() - theirs - FOREIGN - {"--version"}
    assert not unknown, f"{page.name} names {unknown}"


RECIPE_BLOCKS = [
    pytest.param(page, text, id=f"{page.stem}-{number}")
    for page in (
        ROOT / "docs" / "running.md",
        ROOT / "docs" / "inputs.md",
        ROOT / "docs" / "pairs.md",
        ROOT / "README.md",
    )
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize(("page", "text"), RECIPE_BLOCKS)
def test_recipes_in_the_docs_load(page: Path, text: str) -> None:
    document = parse_document(text, page.name)
    assert isinstance(document.data, dict)
    needed = {"name": "x", "prompts": [{"path": "x"}], "models": {"policy": {"model": "x"}}}
    document.data = needed | document.data
    document.validate(Recipe)


TRAINING_BLOCKS = re.findall(
    r"```yaml\n# (\w+)\n(.*?)```", (ROOT / "docs" / "training.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize(("kind", "text"), TRAINING_BLOCKS)
def test_training_settings_in_the_docs_load(kind: str, text: str) -> None:
    parse_document(text, "training.md").validate(settings_class(kind))


def test_loops_in_the_docs_load() -> None:
    (text,) = re.findall(
        r"```yaml\n# loop\n(.*?)```", (ROOT / "docs" / "loop.md").read_text(encoding="utf-8"), re.DOTALL
    )
    document = parse_document(text, "loop.md")
    steps = steps_of(loop_of(document), document)
    assert [step.uses for step in steps] == [(), ("revisions",), ("sl_cai",), ("labels",), ("sl_cai",)]


def test_every_recipe_key_is_explained() -> None:
    text = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(\w+)` \|", text.split("## Recipes")[1].split("\n## ")[0], re.MULTILINE))
    assert told == set(Recipe.model_fields)


def test_every_flag_is_explained_with_its_policy() -> None:
    text = (ROOT / "docs" / "pairs.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|.*\| (keep|drop) \|$", text, re.MULTILINE)
    policies = FlagPolicies().model_dump()
    assert told == [
        (name, meaning[0].lower() + meaning[1:], policies[name]) for name, meaning in flags.MEANINGS.items()
    ]


def type_words(kind: pa.DataType, record: str = "") -> str:
    """A type as docs/data.md writes it. `record` names the struct."""
    if pa.types.is_list(kind):
        return f"list of {type_words(kind.value_type)}"
    if pa.types.is_struct(kind):
        return next(name for name in [*RECORDS, "Message"] if kind.equals(struct_of(name)))
    return {pa.string(): "text", pa.int64(): "whole", pa.float64(): "number", pa.bool_(): "yes/no"}[kind]


def struct_of(name: str) -> pa.DataType:
    return records.arrow_type(Message if name == "Message" else RECORDS[name])


def written(name: str) -> list[tuple[str, str]]:
    """Columns and types of a record as its Arrow schema has them."""
    if name == "Message":
        return [(field.name, "text") for field in struct_of(name)]
    schema = records.arrow_schema(RECORDS[name])
    return [(field.name, type_words(field.type) + (" or null" if field.nullable else "")) for field in schema]


def documented(name: str) -> list[tuple[str, str]]:
    """Columns and types of a record as its table in docs/data.md has them."""
    (section,) = re.findall(rf"^##+ {name}\n(.*?)(?=^##|\Z)", DATA, re.DOTALL | re.MULTILINE)
    return re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section, re.MULTILINE)


@pytest.mark.parametrize("name", [*RECORDS, "Message"])
def test_every_column_is_documented_with_its_type(name: str) -> None:
    if name != "Message":
        assert fields(RECORDS[name])
    assert documented(name) == written(name)


def test_every_documented_record_exists() -> None:
    headings = set(re.findall(r"^##+ ([A-Z][a-z]+(?:[A-Z][a-z]+)*)$", DATA, re.MULTILINE))
    assert headings == {*RECORDS, "Message"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not [target for target in missing if target]
