"""A page that lists what an OpenAPI document describes; it asks for nothing from elsewhere."""

from collections.abc import Mapping
from html import escape
from typing import Any

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>nnclip</title>
<meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code{background:#8882;padding:.1em .3em}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;border-bottom:1px solid #8884;padding:.3rem .5rem}</style>
<h1>nnclip</h1><p>Also as <a href="openapi.json">OpenAPI</a>.</p>"""


def listing(document: Mapping[str, Any]) -> str:
    """HTML with one section for each route, and the fields of its request."""
    parts = [HEAD]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(', '.join(route.get('tags', [])))}</p>")
            if said := route.get("description"):
                parts.append(f"<p>{escape(said)}</p>")
            parts.append(_fields("Request", route.get("requestBody"), document))
            parts.append(_fields("Answer", route["responses"].get("200"), document))
    return "".join(parts)


def _fields(title: str, body: Mapping[str, Any] | None, document: Mapping[str, Any]) -> str:
    """A table of the fields of a body, "" where it has none."""
    content: Mapping[str, Any] = next(iter((body or {}).get("content", {}).values()), {})
    schema = _resolved(content.get("schema", {}), document)
    needed = schema.get("required", [])
    rows = []
    for name, field in schema.get("properties", {}).items():
        must = "yes" if name in needed else ""
        said = escape(field.get("description", _resolved(field, document).get("description", "")))
        rows.append(
            f"<tr><td><code>{escape(name)}</code><td>{escape(_kind(field))}<td>{must}<td>{said}"
        )
    if not rows:
        return ""
    head = "<tr><th>field<th>type<th>needed<th>"
    return f"<h3>{title}</h3><table>{head}{''.join(rows)}</table>"


def _kind(field: Mapping[str, Any]) -> str:
    """What a field may be, in a few words."""
    if "anyOf" in field:
        kinds = dict.fromkeys(_kind(one) for one in field["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in field or "const" in field:
        return " or ".join(map(str, field.get("enum", [field.get("const")])))
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[-1]
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field.get("type", "any"))


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, or what its reference means."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rsplit("/", 1)[-1]
    found: Mapping[str, Any] = document["components"]["schemas"][name]
    return found
