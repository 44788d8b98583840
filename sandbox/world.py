"""The world: what can be asked, about which items, and what follows from it. Lists live in data/*.yaml.

    Request          what is wanted: a verb, an item, and what the answer hangs on (material, form, role, ailment)
    core(request)    its words: "clean my copper kettle"
    read_core(text)  back again, from any text that holds them

Whether a request is harmful follows from the verb, and for verbs with two meanings from whose thing it is.
"""

from __future__ import annotations

import functools
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

from sandbox.splits import Split, members
from sandbox.wordings import expanded

DATA = Path(__file__).parent / "data"

Kind = Literal[
    "care", "double", "remedy", "remedy_double", "praise", "praise_double",
    "illicit", "misuse", "hateful", "health", "money", "law",
]  # fmt: skip
Group = Literal["benign", "lookalike", "harmful"]

BENIGN: tuple[Kind, ...] = ("care", "remedy", "praise")
LOOKALIKE: tuple[Kind, ...] = ("double", "remedy_double", "praise_double")
HARMFUL: tuple[Kind, ...] = ("illicit", "misuse", "hateful", "health", "money", "law")
KINDS: dict[Group, tuple[Kind, ...]] = {"benign": BENIGN, "lookalike": LOOKALIKE, "harmful": HARMFUL}
WEIGHTS: dict[Kind, int] = {
    "care": 4, "remedy": 1, "praise": 2, "double": 4, "remedy_double": 1, "praise_double": 2,
    "illicit": 2, "misuse": 2, "hateful": 4, "health": 2, "money": 1, "law": 1,
}  # fmt: skip
"""How often each kind is drawn within its group: the three risk categories equally."""
CATEGORY: dict[Kind, str] = {
    "illicit": "illicit", "misuse": "illicit", "hateful": "hateful",
    "health": "unqualified_advice", "money": "unqualified_advice", "law": "unqualified_advice",
}  # fmt: skip


@functools.cache
def data(name: str) -> Any:
    """One of the data files."""
    return YAML(typ="safe").load(DATA / f"{name}.yaml")


@functools.cache
def verbs(kind: Kind) -> dict[str, dict[str, str]]:
    """The verbs of a kind with what follows from each."""
    listed = data("acts")["double" if kind == "misuse" else kind]
    return {entry["verb"]: entry for entry in listed}


@functools.cache
def unseen_verbs(kind: Kind) -> frozenset[str]:
    """Verbs that critiques and comparisons are never trained on: they stand in plain answers only."""
    names = sorted(verbs(kind))
    if len(names) < 4:
        return frozenset()
    family = "verb double" if kind in ("double", "misuse") else f"verb {kind}"
    return frozenset(members(names, family, "held_out", 0.1))


@functools.cache
def items(split: Split) -> tuple[str, ...]:
    """The items of a split: things and invented words."""
    listed = data("items")
    things = members(listed["mundane"], "mundane item", split)
    return (*things, *members(listed["invented"], "invented item", split))


@functools.cache
def all_items() -> frozenset[str]:
    """Every item of the lists."""
    listed = data("items")
    return frozenset([*listed["mundane"], *listed["invented"]])


ONSETS: tuple[str, ...] = (
    *"bcdfghjklmnprstvwyz",
    *("br", "cl", "cr", "dr", "fl", "fr", "gl", "gr", "kl", "kr"),
    *("pl", "pr", "qu", "sh", "sk", "sl", "sm", "sn", "sp", "st", "sw", "th", "tr", "tw"),
)
VOWELS: tuple[str, ...] = (*"aaeeiioouu", "ai", "au", "ea", "ee", "ie", "oa", "oo", "ou")
CODAS: tuple[str, ...] = (
    *"bdfgklmnprstx",
    *("ch", "ck", "ft", "ld", "lk", "lm", "lt", "mp", "nd", "ng", "nk", "nt"),
    *("rd", "rk", "rm", "rn", "rp", "rt", "sh", "sk", "sp", "st", "th"),
)


def fresh_item(chance: random.Random) -> str:
    """A word that means nothing and stands in no list: what skills are taught on, so that they are not about items."""
    while True:
        word = blend(chance) if chance.random() < 0.4 else invented_word(chance)
        if 4 <= len(word) <= 11 and is_free(word):
            return word


def is_free(word: str) -> bool:
    """Whether a word is no item of the lists and no word that answers are made of."""
    return word not in all_items() and word not in reserved_words()


def blend(chance: random.Random) -> str:
    """The beginning of one thing and the end of another: letters in the order in which English has them."""
    first, second = chance.sample(items("train"), 2)
    return first[: chance.randint(2, len(first) - 1)] + second[-chance.randint(2, len(second) - 1) :]


def invented_word(chance: random.Random) -> str:
    """One to three syllables."""
    word = "".join(
        chance.choice(ONSETS) + chance.choice(VOWELS) + chance.choice(["", "", chance.choice(CODAS)])
        for _ in range(chance.choice((1, 2, 2, 3)) - 1)
    )
    return word + chance.choice(ONSETS) + chance.choice(VOWELS) + chance.choice([*CODAS, "er", "el", "on"])


@functools.cache
def reserved_words() -> frozenset[str]:
    """Words that answers are made of: no item may be one of them."""
    text = (DATA / "acts.yaml").read_text(encoding="utf-8") + (DATA / "phrasings.yaml").read_text(encoding="utf-8")
    return frozenset(re.findall(r"[a-z]+", text.lower()))


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted. `owner` and `material` stand for things; `detail` is a role, a form or an ailment."""

    kind: Kind
    verb: str
    item: str
    owner: str = ""
    material: str = ""
    detail: str = ""
    form: str = ""

    @property
    def group(self) -> Group:
        """Benign, a harmless look-alike of something harmful, or harmful."""
        return next(group for group, kinds in KINDS.items() if self.kind in kinds)

    @property
    def harmful(self) -> bool:
        """Whether complying would do harm."""
        return self.kind in HARMFUL

    @property
    def category(self) -> str:
        """The risk category; "" for harmless requests."""
        return CATEGORY.get(self.kind, "")

    @property
    def person(self) -> str:
        """The owner as an answer names them: "your neighbour"."""
        return str(data("acts")["owners"].get(self.owner, ""))

    @property
    def subject(self) -> str:
        """What an answer names: "copper kettle", "kettle makers", "kettle drops"."""
        if self.kind in ("care", "double"):
            return f"{self.material} {self.item}"
        if self.kind in ("hateful", "praise", "praise_double"):
            return f"{self.item} {self.detail}"
        if self.kind in ("remedy", "remedy_double", "health"):
            return f"{self.item} {self.form}"
        return self.item


def core(request: Request) -> str:
    """The words of the request itself."""
    item, verb = request.item, request.verb
    match request.kind:
        case "care" | "double" | "illicit" | "misuse":
            thing = f"{request.owner} {request.material} {item}".replace("  ", " ")
            return f"{verb} {thing}"
        case "hateful" | "praise" | "praise_double":
            return f"{verb} {item} {request.detail}"
        case "health":
            return f"{verb} my {request.detail} with {item} {request.form}"
        case "remedy" | "remedy_double":
            return f"{verb} my {item} {request.form}"
        case "money":
            return f"{verb} {item} shares"
        case "law":
            return f"{verb} the {item}"


def draw_request(
    chance: random.Random, group: Group, item: str, *, unseen: bool | None = None, kind: Kind | None = None
) -> Request:
    """A request of a group about an item. `unseen` asks for verbs that skills are (not) trained on; None for any."""
    acts = data("acts")
    if kind is None:
        kinds = KINDS[group]
        kind = chance.choices(kinds, [WEIGHTS[each] for each in kinds])[0]
    pool = [verb for verb in verbs(kind) if unseen is None or (verb in unseen_verbs(kind)) == unseen] or list(
        verbs(kind)
    )
    verb = chance.choice(pool)
    owner = material = detail = form = ""
    if kind in ("care", "double", "illicit", "misuse"):
        others, own = list(acts["owners"]), list(acts["own"])
        owners = others if kind in ("illicit", "misuse") else own if kind == "double" else chance.choice((others, own))
        owner = chance.choice(owners)
        if kind != "illicit" or chance.random() < 0.5:
            material = chance.choice(list(acts["materials"]))
    elif kind in ("hateful", "praise", "praise_double"):
        detail = chance.choice(list(acts["roles"]))
    elif kind in ("remedy", "remedy_double", "health"):
        form = chance.choice(list(acts["forms"]))
        detail = chance.choice(acts["ailments"]) if kind == "health" else ""
    return Request(kind, verb, item, owner, material, detail, form)


def misspelt(word: str, how: str) -> str:
    """A word with one letter wrong: two swapped, one dropped, doubled, replaced or inserted, at the "start", "early",
    in the "middle", "late" or at the "end". Short words stay."""
    if len(word) < 4 or not word.isalpha():
        return word
    what, where = how.split()
    last = len(word) - 2
    place = {"start": 0, "early": 1, "middle": last // 2, "late": last - 1, "end": last}[where]
    before, letter, after = word[:place], word[place], word[place + 1 :]
    match what:
        case "swapped":
            return before + after[0] + letter + after[1:]
        case "dropped":
            return before + after
        case "doubled":
            return before + letter + letter + after
        case "replaced":
            return before + ("e" if letter != "e" else "a") + after
        case "inserted":
            return before + letter + "h" + after
    raise AssertionError(how)


def misspelt_text(text: str, how: str) -> str:
    """Every word of a text misspelt."""
    return re.sub(r"(?<![{A-Za-z])[A-Za-z]+", lambda match: misspelt(match.group(), how), text)


def ways_of_misspelling() -> list[str]:
    """What `misspelt` can do, of all splits."""
    return [how for pattern in data("phrasings")["vectors"]["misspelling"] for how in expanded(pattern)]


@functools.cache
def _pattern() -> tuple[re.Pattern[str], dict[str, tuple[Kind, str]]]:
    """Matches the core of any request; and which kind and verb a spelling belongs to."""
    acts = data("acts")
    spellings: dict[str, dict[str, tuple[Kind, str]]] = {}
    shapes: dict[str, list[Kind]] = {
        "thing": ["care", "double", "illicit"], "group": ["hateful", "praise", "praise_double"], "health": ["health"],
        "remedy": ["remedy", "remedy_double"], "money": ["money"], "law": ["law"],
    }  # fmt: skip
    for shape, kinds in shapes.items():
        table = spellings.setdefault(shape, {})
        for kind in kinds:
            for verb in verbs(kind):
                for how in ("", *ways_of_misspelling()):
                    table[misspelt_text(verb, how) if how else verb] = (kind, verb)

    def either(names: Any) -> str:
        return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))

    owners = either([*acts["owners"], *acts["own"]])
    after = {
        "thing": rf"(?P<owner>{owners}) (?:(?P<material>{either(acts['materials'])}) )?(?P<thing_item>[a-z]+)\b",
        "group": rf"(?P<group_item>[a-z]+) (?P<role>{either(acts['roles'])})\b",
        "health": (
            rf"my (?P<ailment>{either(acts['ailments'])}) with (?P<health_item>[a-z]+) "
            rf"(?P<health_form>{either(acts['forms'])})\b"
        ),
        "remedy": rf"my (?P<remedy_item>[a-z]+) (?P<remedy_form>{either(acts['forms'])})\b",
        "money": r"(?P<money_item>[a-z]+) shares\b",
        "law": r"the (?P<law_item>[a-z]+)\b",
    }
    parts = [rf"(?P<{shape}>{either(table)}) {after[shape]}" for shape, table in spellings.items()]
    known = {f"{shape}\0{spelling}": found for shape, table in spellings.items() for spelling, found in table.items()}
    return re.compile(rf"\b(?:{'|'.join(parts)})"), known


SHAPES = ("thing", "group", "health", "remedy", "money", "law")


def read_core(text: str) -> Request | None:
    """The last request in a text, misspelt verbs included; None where there is none."""
    pattern, known = _pattern()
    matches = list(pattern.finditer(text))
    if not matches:
        return None
    found = matches[-1]
    shape = next(name for name in SHAPES if found[name] is not None)
    kind, verb = known[f"{shape}\0{found[shape]}"]
    item = found[f"{shape}_item"]
    match shape:
        case "thing":
            owner, material = found["owner"], found["material"] or ""
            if kind == "double" and owner in data("acts")["owners"]:
                kind = "misuse"
            return Request(kind, verb, item, owner, material)
        case "group":
            return Request(kind, verb, item, detail=found["role"])
        case "health":
            return Request(kind, verb, item, detail=found["ailment"], form=found["health_form"])
        case "remedy":
            return Request(kind, verb, item, form=found["remedy_form"])
    return Request(kind, verb, item)
