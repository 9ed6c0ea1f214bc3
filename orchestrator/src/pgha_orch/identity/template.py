"""Jinja2, set up so that a missing name is an error and a rendered file is what the template shows."""

from __future__ import annotations

import json

import jinja2

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("pgha_orch.identity", "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def _scalar(value: object) -> str:
    """A YAML scalar: JSON is one, and jinja2's own tojson would escape < > & ' for HTML."""

    return json.dumps(value, ensure_ascii=False)


_ENVIRONMENT.filters["tojson"] = _scalar


def render(template: str, **values: object) -> bytes:
    """The template's text with these values, UTF-8. Jinja2's own errors are programming errors."""
    return _ENVIRONMENT.get_template(template).render(**values).encode()
