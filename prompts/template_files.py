"""The template files: what each may use, reading ours and the user's, and finding every fault before a model is loaded.

    folder ──read──► sources ──check──► faults, with file and line
                        └────compile──► Template.render(variables) ──► text

Templates are bounded (prompts/bounded_templates.py), since they travel between strangers. What users and models wrote
goes in as values, once; nothing in it is ever read as a template.
A template may `{% set %}` the settings of its kind (prefill, options, closing, stop). One that it does not set is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.runtime import Context

from constitution.faults import BadInput, Fault, did_you_mean
from constitution.yaml_files import read_text
from prompts.bounded_templates import BoundedEnvironment

TEMPLATES_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Kind:
    """What one template must use, what else it may use, and what it may set."""

    required: frozenset[str]
    optional: frozenset[str]
    settings: frozenset[str]


def _kind(required: str, optional: str = "", settings: str = "") -> Kind:
    return Kind(frozenset(required.split()), frozenset(optional.split()), frozenset(settings.split()))


KINDS: Mapping[str, Kind] = {
    "respond": _kind("", "system conversation", "stop"),
    "critique": _kind("request", "conversation response", "stop"),
    "revise": _kind("request", "conversation response critique", "stop"),
    "transcript": _kind("conversation"),
    "compare": _kind("first second question", "transcript conversation layout", "prefill options closing"),
    "reason": _kind("first second question", "transcript conversation layout", "prefill stop"),
    "reason_verdict": _kind("", "question reasoning", "prefill options closing"),
    "proposition": _kind("response question", "transcript conversation layout", "prefill options closing"),
    "rate": _kind("response question", "transcript conversation layout", "prefill scale"),
}
"""The templates, `<name>.jinja` each. docs/prompts.md says what every variable holds."""

TEXTS = ("system", "transcript", "response", "request", "critique", "first", "second", "question", "reasoning")
SAMPLES: tuple[Mapping[str, Any], ...] = tuple(
    {
        **{name: f"{word} {name}" for name in TEXTS},
        "conversation": ({"role": "user", "content": word},),
        "layout": layout,
    }
    for word, layout in (("some", "shared_first"), ("other", "shared_first"), ("some", "paper"))
)
"""Values that every template is rendered with when it is loaded, so that what fails does so then."""
SAMPLE_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one template, and the file it came from (for messages)."""

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template with what it sets. `uses_layout`: it asks which layout is wanted."""

    name: str
    source: Source
    compiled: JinjaTemplate
    uses_layout: bool
    settings: Mapping[str, Any]

    @property
    def prefill(self) -> str:
        """How the assistant's answer begins; the model goes on from there."""
        return str(self.settings.get("prefill", ""))

    @property
    def options(self) -> tuple[str, ...]:
        """The two answers to choose from, or the steps of a scale, as the next token after the prefill."""
        return tuple(self.settings.get("options", self.settings.get("scale", ())))

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end the model's answer."""
        return tuple(self.settings.get("stop", ()))

    def render(self, variables: Mapping[str, Any], max_characters: int) -> str:
        """The text. Raises BadInput with the template's line where it fails, or where the text grows too long."""
        try:
            return _joined(self.compiled, self.compiled.new_context(dict(variables)), max_characters)
        except (
            TemplateError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            RuntimeError,
        ) as error:
            raise BadInput(_failure(self.compiled, self.source, error)) from None

    def answer(self, index: int) -> str:
        """The assistant's turn that names an option, as the few-shots show it."""
        return f"{self.prefill}{self.options[index]}{self.settings.get('closing', '')}"


def _joined(compiled: JinjaTemplate, context: Context, max_characters: int) -> str:
    """The rendered text, given up as soon as it is longer than allowed."""
    pieces: list[str] = []
    length = 0
    for piece in compiled.root_render_func(context):
        pieces.append(piece)
        length += len(piece)
        if length > max_characters:
            raise BadInput(too_long(str(compiled.name), length, max_characters))
    return "".join(pieces)


def too_long(name: str, length: int, max_characters: int) -> Fault:
    return Fault(
        f"the rendered prompt has at least {length:,} characters, and {max_characters:,} are allowed",
        where=f"template {name}",
        hint="shorten the conversation or the template, or raise max_characters",
    )


def read_sources(folder: Path | None = None) -> dict[str, Source]:
    """The text of every template: the folder's where it holds one, else ours.

    Raises BadInput where the folder is missing, holds no template, or holds one with an unknown name. Files
    that are no templates are let be, so that templates and few-shots may share a folder.
    """
    sources = {name: _read(TEMPLATES_FOLDER / f"{name}.jinja") for name in KINDS}
    if folder is None:
        return sources
    if not folder.is_dir():
        raise BadInput(Fault("there is no such folder of templates", str(folder), hint="check the path"))
    known = {f"{name}.jinja": name for name in KINDS}
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    faults = [
        Fault("no template has this name", str(path), hint=did_you_mean(path.name, known))
        for path in files
        if path.name not in known and path.suffix in {".jinja", ".jinja2", ".j2"}
    ]
    if not faults and not any(path.name in known for path in files):
        faults.append(Fault("the folder holds no template", str(folder), hint=did_you_mean("", known)))
    if faults:
        raise BadInput(faults)
    return sources | {known[path.name]: _read(path) for path in files if path.name in known}


def _read(path: Path) -> Source:
    return Source(str(path), read_text(path))


def compile_templates(sources: Mapping[str, Source]) -> dict[str, Template]:
    """Every template, checked and compiled. Raises BadInput with the faults of all of them."""
    environment = BoundedEnvironment(trim_blocks=True, lstrip_blocks=True)
    faults: list[Fault] = []
    templates: dict[str, Template] = {}
    for name, source in sources.items():
        checked = _Check(environment, name, source)
        template = checked.template()
        faults.extend(checked.faults)
        if template is not None:
            templates[name] = _with_our_settings(environment, template)
    if faults:
        raise BadInput(faults)
    return templates


def _with_our_settings(environment: BoundedEnvironment, template: Template) -> Template:
    """The template with our template's settings in place of those it does not set."""
    missing = KINDS[template.name].settings - template.settings.keys()
    if not missing:
        return template
    ours = _Check(environment, template.name, _read(TEMPLATES_FOLDER / f"{template.name}.jinja")).template()
    assert ours is not None
    kept = {name: value for name, value in ours.settings.items() if name in missing}
    return replace(template, settings={**kept, **template.settings})


@dataclass(slots=True)
class _Check:
    """Looks at one template and gathers what is wrong with it."""

    environment: BoundedEnvironment
    name: str
    source: Source
    faults: list[Fault] = field(default_factory=list)

    def template(self) -> Template | None:
        """The compiled template, or None where a fault was found."""
        kind = KINDS[self.name]
        try:
            tree = self.environment.parse(self.source.text, self.name, self.source.file)
            code = self.environment.compile(self.source.text, self.name, self.source.file)
        except TemplateSyntaxError as error:
            self.fault(f"not a Jinja template: {error.message}", error.lineno)
            return None
        used = meta.find_undeclared_variables(tree) - set(self.environment.globals)
        self.check_variables(tree, used, kind)
        self.check_other_templates(tree)
        if self.faults:
            return None
        compiled = JinjaTemplate.from_code(self.environment, code, self.environment.make_globals(None))
        settings = self.settings(compiled, tree, kind)
        if self.faults:
            return None
        return Template(self.name, self.source, compiled, "layout" in used, settings)

    def fault(self, message: str, line: int, hint: str = "", where: str = "") -> None:
        place = where or f"template {self.name}"
        self.faults.append(Fault(message, self.source.file, line, where=place, hint=hint))

    def check_variables(self, tree: nodes.Template, used: set[str], kind: Kind) -> None:
        known = kind.required | kind.optional
        for name in sorted(used - known):
            line = next(
                (node.lineno for node in tree.find_all(nodes.Name) if node.name == name and node.ctx == "load"), 0
            )
            self.fault(f"there is no variable '{name}' in this template", line, did_you_mean(name, known))
        for name in sorted(kind.required - used):
            self.fault(f"the template never uses '{name}'", 0, f"write {{{{ {name} }}}} where it belongs")

    def check_shown(self, text: str, sample: Mapping[str, Any], kind: Kind) -> None:
        """A question that only one layout shows would leave the judge of the other without one."""
        for name in sorted(kind.required):
            value = sample[name] if name in TEXTS else sample["conversation"][0]["content"]
            if value not in text and not self.faults:
                self.fault(f"'{name}' is not shown in the layout {sample['layout']}", 0, "show it in every layout")

    def check_other_templates(self, tree: nodes.Template) -> None:
        for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            self.fault("a template cannot take in another", node.lineno, "write its text here")

    def settings(self, compiled: JinjaTemplate, tree: nodes.Template, kind: Kind) -> dict[str, Any]:
        """What the template sets, found by rendering it. A value of the wrong type, or one that varies, is a fault."""
        found: dict[str, Any] = {}
        varying: set[str] = set()
        lines = {node.name: node.lineno for node in tree.find_all(nodes.Name) if node.ctx == "store"}
        for sample in SAMPLES:
            context = compiled.new_context(dict(sample))
            try:
                text = _joined(compiled, context, SAMPLE_CHARACTERS)
            except Exception as error:  # a template can fail in any way, and each is the file's fault
                self.faults.append(_failure(compiled, self.source, error))
                return {}
            self.check_shown(text, sample, kind)
            exported = context.get_exported()
            for name, value in exported.items():
                try:
                    changed = found.get(name, value) != value
                except UndefinedError as error:  # what is not there, or a list that holds it, compares with nothing
                    self.fault(f"'{name}' is set to what is not there: {error.message}", lines.get(name, 0))
                    return {}
                if changed:
                    varying.add(name)
            found |= exported
        for name in list(found):
            line = lines.get(name, 0)
            if name not in kind.settings:
                hint = did_you_mean(name, kind.settings) or "this template has no settings"
                self.fault(
                    f"there is no setting '{name}' here",
                    line,
                    f"{hint}; begin the name with '_' to keep it for yourself",
                )
            elif (problem := SETTINGS[name](found[name])) is not None:
                self.fault(f"the setting '{name}' {problem}", line)
            elif name in varying:
                self.fault(f"the setting '{name}' changes with the variables", line, "write a constant")
        return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _prefill_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"must be text, and is {value!r}"
    if value != value.rstrip():
        return "ends with white space, which tokenizers read as a part of the next word; end it earlier"
    return None


def _text_problem(value: object) -> str | None:
    return None if isinstance(value, str) else f"must be text, and is {value!r}"


def _options_problem(value: object) -> str | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, str) and v.strip() for v in value):
        return None if value[0] != value[1] else "names one option twice"
    return f'must be a list of two texts such as ["A", "B"], and is {value!r}'


def _scale_problem(value: object) -> str | None:
    if isinstance(value, list | tuple) and len(value) >= 2 and all(isinstance(v, str) and v.strip() for v in value):
        return None if len(set(value)) == len(value) else "names one step twice"
    return f'must be a list of texts from the lowest to the highest, such as ["1", "2", "3"], and is {value!r}'


def _stop_problem(value: object) -> str | None:
    if isinstance(value, list | tuple) and all(isinstance(text, str) and text for text in value):
        return None
    return f"must be a list of texts that are not empty, and is {value!r}"


SETTINGS: Mapping[str, Callable[[object], str | None]] = {
    "prefill": _prefill_problem,
    "options": _options_problem,
    "scale": _scale_problem,
    "closing": _text_problem,
    "stop": _stop_problem,
}
"""What a template may set, and what is wrong with a value (None: nothing)."""


def _failure(compiled: JinjaTemplate, source: Source, error: Exception) -> Fault:
    """A fault at the template's line that was running when the error rose."""
    if isinstance(error, BadInput):
        return error.faults[0]
    line = 0
    for frame_file, frame_line in _frames(error):
        if frame_file == source.file:
            line = compiled.get_corresponding_lineno(frame_line)
    return Fault(f"the template cannot be rendered: {error}", source.file, line, where=f"template {compiled.name}")


def _frames(error: Exception) -> Iterator[tuple[str, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
