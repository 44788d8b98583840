"""Jinja for templates that travel between strangers: they reach neither files nor Python, and cannot eat a machine.

Jinja's immutable sandbox keeps a template from files, modules and attributes. Beyond that, each rendering here may

    take MOST_STEPS steps        turns of loops, calls, and the items that filters go through
    make texts of MOST_CHARACTERS at most, and numbers of MOST_BITS at most

and shows texts and numbers alone, since a list of lists of lists is written in a few lines and has no end when shown.
A template that asks for more raises TemplateRuntimeError. Steps are counted, not seconds, so that a busy machine
renders what an idle one does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Self

from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_STEPS = 1_000_000
MOST_CHARACTERS = 4_000_000
MOST_BITS = 256
CHARACTERS_A_STEP = 1_000
LARGEST_ARGUMENT = 10_000
"""Of a filter: a width, an indentation, the size of a batch."""

TEXT_METHODS = frozenset((
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal",
    "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines",
    "startswith", "strip", "swapcase", "title", "upper",
))  # fmt: skip
"""Methods of texts whose results are no longer than the texts."""
LEFT_OUT = frozenset(("format", "random", "pprint", "tojson", "urlize", "xmlattr"))
"""Filters that show whatever a value holds, fill texts up, make HTML, or are not repeatable."""
OF_TEXTS = frozenset((
    "capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "safe", "string", "striptags", "title",
    "trim", "truncate", "upper", "urlencode", "wordcount", "wordwrap",
))  # fmt: skip
"""Filters that make a text of whatever they are given."""


class CountedContext(Context):
    """The variables of one rendering, and the steps that it has taken."""

    steps = 0

    def step(self, count: int = 1) -> None:
        """Counts steps. Raises TemplateRuntimeError where there are too many."""
        self.steps += count
        if self.steps > MOST_STEPS:
            raise TemplateRuntimeError(f"it takes more than {MOST_STEPS:,} steps, as loops in loops may")


class _Code(CodeGenerator):
    """Joins texts (`~`) by way of the environment."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        self.write("environment.concat((")
        for part in node.nodes:
            self.write("str(environment.finalize(")
            self.visit(part, frame)
            self.write(")), ")
        self.write("))")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """An environment whose templates cannot take much time or memory. Compile what `parse` returns."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))
    context_class = CountedContext
    code_generator_class = _Code

    def __init__(self, **options: Any) -> None:
        super().__init__(autoescape=False, undefined=StrictUndefined, finalize=shown, auto_reload=False, **options)
        self.globals = {"range": self.globals["range"], "namespace": self.globals["namespace"]}
        self.filters = {name: _bounded(name, filter_) for name, filter_ in FILTERS.items() if name not in LEFT_OUT}
        self.filters |= {"join": _join, "replace": _replace, COUNTED: _counted}

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """The pieces as one text."""
        return _join_texts(list(pieces))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, COUNTED, [], [], None, None, lineno=loop.lineno, environment=self)
        return tree

    def wrap_str_format(self, value: Any) -> None:
        """Texts have no `format` here: it fills up to any width."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in TEXT_METHODS
        return super().is_safe_attribute(obj, attr, value)

    def call(__self: Self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        assert isinstance(__context, CountedContext)
        __context.step(1 + sum(_steps_of(each) for each in (getattr(__obj, "__self__", None), *args)))
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The result, where it cannot be large."""
        assert isinstance(context, CountedContext)
        context.step(1 + _steps_of(left) + _steps_of(right))
        if operator == "+" and isinstance(left, Sequence) and isinstance(right, Sequence):
            _check_length(len(left) + len(right))
        elif operator == "*" and isinstance(left, Sequence) and isinstance(right, int):
            _check_length(len(left) * right)
        elif not all(isinstance(each, int | float) for each in (left, right)):
            raise TemplateRuntimeError(f"'{operator}' is for numbers")
        elif (operator == "**" and _bits(left) * abs(right) > MOST_BITS) or _bits(left) + _bits(right) > MOST_BITS:
            raise TemplateRuntimeError("a number grows too large")
        return super().call_binop(context, operator, left, right)


COUNTED = "_counted"


@pass_context
def _counted(context: CountedContext, items: Iterable[Any]) -> Iterator[Any]:
    """What a loop goes through, a step each."""
    for item in items:
        context.step()
        yield item


def shown(value: Any) -> Any:
    """A value on its way into the text. Raises TemplateRuntimeError for what is neither text nor number."""
    if value is None or isinstance(value, str | int | float | Undefined):
        return value
    raise TemplateRuntimeError(f"a {type(value).__name__} cannot be shown, only texts and numbers")


def _bounded(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts as many steps as it is given items, and makes no text that is too long."""
    passes = getattr(filter_, "jinja_pass_arg", None)
    first = "" if passes is None else passes.name

    @functools.wraps(filter_)
    def bounded(context: CountedContext, value: Any, *args: Any, **options: Any) -> Any:
        value = list(value) if isinstance(value, Iterator) else value
        context.step(1 + _steps_of(value))
        for argument in (*args, *options.values()):
            if isinstance(argument, int) and abs(argument) > LARGEST_ARGUMENT:
                raise TemplateRuntimeError(f"{argument:,} is more than a filter takes ({LARGEST_ARGUMENT:,})")
        passed = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        if name in OF_TEXTS:
            shown(value)
        result = filter_(*([passed[first]] if first else []), value, *args, **options)
        if isinstance(result, str):
            _check_length(len(result))
        return result

    return pass_context(bounded)


@pass_context
def _join(context: CountedContext, items: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        items = context.environment.filters["map"](context, items, attribute=attribute)
    texts = [str(shown(item)) for item in _counted(context, items)]
    return _join_texts([piece for text in texts for piece in (separator, text)][1:])


@pass_context
def _replace(context: CountedContext, text: str, old: str, new: str, count: int = -1) -> str:
    text = str(shown(text))
    context.step(1 + _steps_of(text))
    _check_length(len(text) + text.count(old) * len(new))
    return text.replace(old, new, count)


def _join_texts(texts: Sequence[str]) -> str:
    _check_length(sum(map(len, texts)))
    return "".join(texts)


def _check_length(length: int) -> None:
    if length > MOST_CHARACTERS:
        raise TemplateRuntimeError(
            f"a text or list of {length:,} is more than a template may make ({MOST_CHARACTERS:,})"
        )


def _steps_of(value: object) -> int:
    if isinstance(value, str):
        return len(value) // CHARACTERS_A_STEP
    if isinstance(value, Undefined):
        return 0
    return len(value) if isinstance(value, Sized) and not isinstance(value, Mapping) else 0


def _bits(value: float) -> int:
    return value.bit_length() if isinstance(value, int) else 1
