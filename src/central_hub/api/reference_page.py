"""The interface as one readable page, made from the OpenAPI document. No script, nothing loaded from elsewhere."""

from html import escape
from typing import Any, Final

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""What the page may do in a browser: look like itself."""

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#eef;padding:.1rem .3rem}h2{margin-top:2rem;font-size:1.1rem}"
    "td,th{text-align:left;padding:.1rem .8rem .1rem 0}"
)


def reference_page(openapi: dict[str, Any]) -> str:
    """An HTML page with every route and its parameters."""
    sections = [
        _section(method, path, operation)
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]
    title = escape(openapi["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{escape(openapi['info']['description'])}</p>"
        '<p>Machine-readable: <a href="/openapi.json">/openapi.json</a></p>' + "".join(sections)
    )


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code><td>{escape(parameter['in'])}"
        f"<td>{escape(parameter.get('description') or parameter['schema'].get('description', ''))}"
        for parameter in operation.get("parameters", [])
    )
    table = f"<table><tr><th>parameter<th>in<th>what{rows}</table>" if rows else ""
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}</p>{table}"
    )
