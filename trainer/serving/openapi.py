"""The OpenAPI document of the service, written by hand: the hot path has no models that a framework could describe.

A test asks a running service all that this document allows, and much that it does not (schemathesis).
"""

from collections.abc import Sequence
from typing import Any, Final

from edge_agent.release import VERSION
from edge_agent.sensing.inference_protocol import LENGTH_HEADER
from edge_agent.sensing.tensors import DATATYPES
from trainer.features.views.view import FeatureView
from trainer.serving.limits import Limits

Json = dict[str, Any]

_ERROR: Final[Json] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What was wrong, and what to do."}},
}
_PARAMETERS: Final[Json] = {
    "type": "object",
    "properties": {
        "binary_data_size": {"type": ["integer", "null"], "description": "Bytes of this tensor behind the JSON."},
        "binary_data": {"type": "boolean", "description": "Of an output: it is wanted as bytes."},
        "binary_data_output": {"type": "boolean", "description": "Of a request: all outputs are wanted as bytes."},
    },
}
_INPUT: Final[Json] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "description": "rows, windows, the name of a feature, or a key."},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 3},
        "datatype": {"enum": sorted(DATATYPES)},
        "parameters": {"$ref": "#/components/schemas/Parameters"},
        "data": {"type": "array", "description": "Flat or nested; a missing value is null."},
    },
}
_OUTPUT: Final[Json] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "parameters": {"$ref": "#/components/schemas/Parameters"}},
}
_REQUEST: Final[Json] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Input"}},
        "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/RequestedOutput"}},
        "parameters": {"$ref": "#/components/schemas/Parameters"},
    },
}
_ANSWER: Final[Json] = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "datatype": {"type": "string"},
                    "data": {"type": "array"},
                    "parameters": {"$ref": "#/components/schemas/Parameters"},
                },
            },
        },
    },
}
_TENSOR: Final[Json] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
}
_VIEW: Final[Json] = {
    "type": "object",
    "description": "A row that brings the keys of this view need not bring these features: they are looked up.",
    "required": ["view", "keys", "features", "ttl_s"],
    "properties": {
        "view": {"type": "string"},
        "keys": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "datatype": {"type": "string"}}},
        },
        "features": {"type": "array", "items": {"type": "string"}},
        "ttl_s": {"type": ["number", "null"], "description": "Seconds for which a row is valid."},
    },
}
_MODEL: Final[Json] = {
    "type": "object",
    "required": ["name", "versions", "platform", "inputs", "outputs"],
    "properties": {
        "name": {"type": "string"},
        "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        "parameters": {"type": "object", "properties": {"entity_lookup": {"type": "array", "items": _VIEW}}},
    },
}
_SERVER: Final[Json] = {
    "type": "object",
    "required": ["name", "version", "extensions"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "extensions": {"type": "array", "items": {"type": "string"}},
    },
}
_LIVE: Final[Json] = {"type": "object", "required": ["live"], "properties": {"live": {"type": "boolean"}}}
_READY: Final[Json] = {
    "type": "object",
    "required": ["ready"],
    "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}},
}


def openapi_document(limits: Limits, *, has_keys: bool, views: Sequence[FeatureView] = ()) -> Json:
    """Return the document.

    Args:
        limits: that a client runs into.
        has_keys: whether requests carry an API key.
        views: whose features are looked up for rows that bring their keys.
    """
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "fieldloop serve",
            "version": VERSION,
            "description": "The Open Inference Protocol, version 2. Which inputs a model takes: GET /v2/models/{name}.",
        },
        "paths": _paths(limits, views, has_keys=has_keys),
        "components": {
            "schemas": {
                "Error": _ERROR,
                "Parameters": _PARAMETERS,
                "Input": _INPUT,
                "RequestedOutput": _OUTPUT,
                "InferenceRequest": _REQUEST,
                "InferenceResponse": _ANSWER,
                "Tensor": _TENSOR,
                "Model": _MODEL,
                "Server": _SERVER,
                "Live": _LIVE,
                "Ready": _READY,
            },
        },
    }
    if has_keys:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    return document


def _paths(limits: Limits, views: Sequence[FeatureView], *, has_keys: bool) -> Json:
    asked: Json = {"security": [{"bearer": []}, {"header": []}]} if has_keys else {}
    refusals = {"401": _refusal("No API key that is known here.")} if has_keys else {}
    unknown = refusals | {"404": _refusal("Another model, or another version, is served.")}
    paths: Json = {
        "/v2/health/live": {"get": _get("Whether the server lives", "Live", {})},
        "/v2/health/ready": {"get": _get("Whether requests are answered", "Ready", {"400": _told("No.", "Ready")})},
        "/v2": {"get": asked | _get("What this server is", "Server", refusals)},
        "/metrics": {
            "get": asked
            | {
                "summary": "Figures for Prometheus",
                "responses": refusals
                | {"200": {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
            }
        },
    }
    for path, names in (
        ("/v2/models/{name}", ("name",)),
        ("/v2/models/{name}/versions/{version}", ("name", "version")),
    ):
        parameters: Json = {"parameters": [_parameter(name) for name in names]}
        not_ready = refusals | {"400": _told("No.", "Ready")}
        paths[path] = parameters | {"get": asked | _get("What a model takes and answers", "Model", unknown)}
        paths[f"{path}/ready"] = parameters | {"get": asked | _get("Whether a model answers", "Ready", not_ready)}
        paths[f"{path}/infer"] = parameters | {"post": asked | _infer(limits, unknown, views)}
    return paths


def _infer(limits: Limits, unknown: Json, views: Sequence[FeatureView]) -> Json:
    looked_up = "".join(
        f" With {' and '.join(view.keys)} as input, features that are not sent are looked up in view {view.name!r}."
        for view in views
    )
    away = ", or the features cannot be looked up" if views else ""
    answer = {"schema": {"$ref": "#/components/schemas/InferenceResponse"}}
    whole = {"type": "string", "format": "binary"}
    return {
        "summary": "Have rows scored",
        "description": f"One tensor `rows`, one tensor a feature, or one tensor `windows`.{looked_up}",
        "parameters": [
            {
                "name": LENGTH_HEADER,
                "in": "header",
                "required": False,
                "description": "Of the binary extension: bytes of JSON before the tensors.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}},
        },
        "responses": unknown
        | {
            "200": {
                "description": "One answer a row; a refused row says why under `refused`.",
                "content": {"application/json": answer, "application/octet-stream": {"schema": whole}},
            },
            "400": _refusal("No such request, or no row of it can be scored."),
            "408": _refusal(f"The body was not whole after {limits.body_timeout_s:g} s."),
            "413": _refusal(f"More than {limits.max_body_bytes} bytes or {limits.max_rows} rows."),
            "415": _refusal("The body is compressed."),
            "429": _busy(f"{limits.max_requests_a_key} requests of this key are being answered."),
            "500": _refusal("The service failed; its log says why."),
            "503": _busy(f"{limits.max_requests} requests are being answered{away}."),
        },
    }


def _get(summary: str, schema: str, others: Json) -> Json:
    return {"summary": summary, "responses": others | {"200": _told(summary + ".", schema)}}


def _told(description: str, schema: str) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _refusal(description: str) -> Json:
    return _told(description, "Error")


def _busy(description: str) -> Json:
    header = {"description": "Seconds.", "schema": {"type": "integer"}}
    return _refusal(f"{description} Try again later.") | {"headers": {"Retry-After": header}}


def _parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
