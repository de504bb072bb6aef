"""The page of the interface: its OpenAPI document for people, with a form for each operation.

It is written into one file that loads nothing: a service stands where there is often no Internet, and a script of
somebody else's would read the API key that is typed into the page.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Final

from edge_agent.bundle import Feature, Manifest
from trainer.serving.openapi import Json

_METHODS: Final = ("get", "post")
_ANY_REQUEST: Final[Json] = {"inputs": [{"name": "FEATURE", "datatype": "FP32", "shape": [1, 1], "data": [0.0]}]}


def interface_page(document: Json, manifest: Manifest | None) -> str:
    """Return the page as HTML.

    Args:
        document: of OpenAPI, with its operations, parameters, responses and schemas.
        manifest: of the model that answers, whose first golden row is the request that the page proposes; None: the
            page is for everybody, and what the model is like only for those with a key.
    """
    info = document["info"]
    has_keys = "securitySchemes" in document["components"]
    known = {"name": manifest.name, "version": str(manifest.version)} if manifest else {}
    example = example_request(manifest) if manifest else _ANY_REQUEST
    operations = "".join(
        _operation(path, method, item, known, example)
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    )
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    key = '<label>API key <input id="key" type="password" autocomplete="off"></label>' if has_keys else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{_text('page.css')}</style></head><body>"
        f'<h1>{escape(info["title"])} <span class="soft">{escape(info["version"])}</span></h1>'
        f'<p>{escape(info["description"])}</p><p><a href="openapi.json">openapi.json</a> is this page for programs.</p>'
        f"{key}<h2>Operations</h2>{operations}<h2>Schemas</h2>{schemas}"
        f"<script>{_text('page.js')}</script></body></html>\n"
    )


@cache
def page_policy() -> str:
    """Return the Content-Security-Policy of the page: its own style and script, and requests to its own server."""
    script, style = (b64encode(sha256(_text(name).encode()).digest()).decode() for name in ("page.js", "page.css"))
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def example_request(manifest: Manifest) -> Json:
    """Return a request that the model answers: its first golden row, one tensor a feature."""
    features, row = manifest.features, manifest.golden[0].features
    return {"inputs": [_tensor(feature, value) for feature, value in zip(features, row, strict=True)]}


def _tensor(feature: Feature, value: float | None) -> Json:
    if feature.dtype != "category":
        return {"name": feature.name, "datatype": "FP32", "shape": [1, 1], "data": [value]}
    named = None if value is None else feature.categories[int(value)]
    return {"name": feature.name, "datatype": "BYTES", "shape": [1, 1], "data": [named]}


@cache
def _text(name: str) -> str:
    return files("trainer.serving").joinpath(name).read_text(encoding="utf-8")


def _operation(path: str, method: str, item: Json, known: dict[str, str], example: Json) -> str:
    operation = item[method]
    parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
    table = _table(
        ("Parameter", "Where", "What"),
        [(each["name"], each["in"], each.get("description", _type(each["schema"]))) for each in parameters],
    )
    responses = _table(
        ("Status", "What", "Content"),
        [(code, each["description"], _contents(each)) for code, each in sorted(operation["responses"].items())],
    )
    about = f"<p>{escape(operation['description'])}</p>" if "description" in operation else ""
    return (
        f'<details><summary><span class="method {method}">{method.upper()}</span><code>{escape(path)}</code>'
        f'<span class="soft">{escape(operation["summary"])}</span></summary><div>{about}'
        f"{'<h3>Parameters</h3>' + table if parameters else ''}<h3>Responses</h3>{responses}"
        f"{_form(path, method, operation, known, example)}</div></details>"
    )


def _form(path: str, method: str, operation: Json, known: dict[str, str], example: Json) -> str:
    places = "".join(
        f'<label>{name} <input data-place="{name}" value="{escape(known.get(name, ""))}" required></label>'
        for name in ("name", "version")
        if f"{{{name}}}" in path
    )
    body = ""
    if "requestBody" in operation:
        tensors = ",\n".join(f"  {json.dumps(tensor)}" for tensor in example["inputs"])
        text = escape(f'{{"inputs": [\n{tensors}\n]}}')
        rows = min(24, text.count("\n") + 2)
        body = f'<label>body <textarea rows="{rows}" spellcheck="false">{text}</textarea></label>'
    return (
        f'<h3>Try it</h3><form data-path="{escape(path)}" data-method="{method.upper()}">{places}{body}'
        "<button>Send</button><pre></pre></form>"
    )


def _schema(name: str, schema: Json) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (f"{key}{'' if key in required else '?'}", _type(each), each.get("description", ""))
        for key, each in schema.get("properties", {}).items()
    ]
    table = _table(("Key", "Type", "What"), rows)
    return f"<details><summary><code>{escape(name)}</code></summary><div>{table}</div></details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"


def _contents(response: Json) -> str:
    return ", ".join(f"{kind}: {_type(each['schema'])}" for kind, each in response.get("content", {}).items())


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kinds = schema.get("type", "anything")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    return f"{kind} of {_type(schema['items'])}" if "items" in schema else kind
