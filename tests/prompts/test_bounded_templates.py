"""Templates of strangers: what they may do, and how they are stopped."""

from __future__ import annotations

import time

import pytest
from jinja2 import TemplateError

from prompts.bounded_templates import BoundedEnvironment


def render(template: str, **variables: object) -> str:
    return BoundedEnvironment().from_string(template).render(variables)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% for n in range(3) %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/3 2/3 3/3 "),
        ("{{ ['a', 'b'] | join(', ') }} {{ people | join('+', attribute='name') }}", "a, b x+y"),
        ("{{ text | replace('t', 'T') | upper }} {{ text.strip() ~ 1 ~ text[:2] * 2 }}", "TEXT text1tete"),
        ("{% set s = namespace(n=0) %}{% for p in people %}{% set s.n = s.n + 2 %}{% endfor %}{{ s.n * 3 }}", "12"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') }}{% set b %}{{ m(1) }}{% endset %}{{ b }}", "<a><1>"),
        ("{{ people | map(attribute='name') | list | first }} {{ missing | default(2) }} {{ text | length }}", "x 2 4"),
        ("{{ people[0].name }}{% for key, value in people[0].items() %}{{ key }}{{ value }}{% endfor %}", "xnamex"),
        ("{% for p in people if p.name == 'y' %}{{ p.name }}{{ loop.last }}{% else %}no{% endfor %}", "yTrue"),
    ],
)  # fmt: skip
def test_what_templates_need_works(text: str, expected: str) -> None:
    assert render(text, text="text", people=[{"name": "x"}, {"name": "y"}]) == expected


DOUBLING = "{% set a = 'x' ~ text %}" + "{% set a = a ~ a %}" * 40 + "{{ a | length }}"
DOUBLING_BLOCKS = "{% set a = text %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40 + "{{ a | length }}"
LAUGHS = "{% set a = [text] %}" + "{% set a = [a, a, a, a, a, a, a, a, a, a] %}" * 12
BOMBS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in text %}{% for b in text %}{% for c in text %}{% endfor %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "{{ 'x' * 10 ** 9 }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ ([1] * 10 ** 9) | length }}",
    "{{ text | center(10 ** 9) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ text.ljust(10 ** 9) }}",
    "{{ text | indent(width=10 ** 9) }}",
    "{{ range(99999) | join(text) }}",
    "{{ text | replace('x', text) | replace('x', text) | replace('x', text) }}",
    DOUBLING,
    DOUBLING_BLOCKS,
    DOUBLING.replace("~", "+"),
    LAUGHS + "{{ a }}",
    LAUGHS + "{{ a | string }}",
    LAUGHS + "{{ a | join }}",
    LAUGHS + "{{ 'x' ~ a }}",
    LAUGHS + "{{ a | tojson }}",
    "{{ text.__class__.__mro__ }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__ }}",
]


@pytest.mark.parametrize("text", BOMBS)
def test_a_template_that_would_take_the_machine_is_stopped(text: str) -> None:
    started = time.process_time()
    with pytest.raises((TemplateError, RecursionError)):
        render(text, text="x" * 300)
    assert time.process_time() - started < 5
