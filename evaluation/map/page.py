"""The payload as one HTML file that asks nothing of the network and runs nothing but its own scripts.

The data is JSON in a script element that no browser runs, in ASCII and with every `<` escaped, so that no text of it
can end the element. The scripts show texts as text nodes. The content security policy allows the page's own scripts
and style by their hashes, and nothing else: no fetching, no images, no frames, no markup made from strings.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

SCRIPTS = ("texts.js", "cloud.js", "state.js", "drawing.js", "side.js", "pair.js", "deciding.js", "page.js")


def render_page(payload: Mapping[str, Any]) -> str:
    """The whole file."""
    style = _file("page.css")
    scripts = [_file(name) for name in SCRIPTS]
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_file("page.html")).render(
        policy=security_policy(scripts, style),
        style=style,
        scripts=scripts,
        data=as_script_data(payload),
    )


def as_script_data(value: object) -> str:
    """JSON that can stand in a script element: nothing in it is markup, and every character is ASCII."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def security_policy(scripts: list[str], style: str) -> str:
    """A content security policy under which exactly these scripts run and this style applies."""
    directives = {
        "default-src": "'none'",
        "script-src": " ".join(_hash(script) for script in scripts),
        "style-src": _hash(style),
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _file(name: str) -> str:
    return (files("evaluation.map") / "page" / name).read_text(encoding="utf-8")
