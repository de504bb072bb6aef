"""docs/asyncapi.yaml is made from the types, is AsyncAPI 3.0, and is true of what travels."""

import copy
import gzip
from typing import Any, Final

import msgspec
import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from broker.asyncapi import build_document, main, payload_schema, render_yaml
from broker.messages import MAX_BYTES, VERSION
from broker.packs import unpack
from broker.topics import RULES, Channel
from tests.unit.broker.wire_examples import EXAMPLES, FOLDER, MORE, REPOSITORY, file_of, file_of_more

DOCUMENT: Final = build_document()
REFERENCE: Final = {
    "type": "object",
    "properties": {"$ref": {"type": "string", "pattern": "^#/"}},
    "required": ["$ref"],
    "additionalProperties": False,
}
REFERENCES: Final = {"type": "array", "items": REFERENCE}
EXTENSION: Final[dict[str, Any]] = {r"^x-[\w\d.\x2d_]+$": {}}
TEXT: Final = {"type": "string", "minLength": 1}
MULTI_FORMAT_SCHEMA: Final = {
    "type": "object",
    "properties": {"schemaFormat": TEXT, "schema": {"type": "object"}},
    "required": ["schemaFormat", "schema"],
    "additionalProperties": False,
}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "patternProperties": EXTENSION,
        "additionalProperties": False,
    }


def map_of(item: dict[str, Any], names: str = r"^[\w\d.\-]+$") -> dict[str, Any]:
    return {"type": "object", "patternProperties": {names: item}, "additionalProperties": False, "minProperties": 1}


# The parts of the AsyncAPI 3.0.0 specification that the document uses, with the names it gives them and no others.
MESSAGE: Final = closed(
    {
        "name": TEXT,
        "title": TEXT,
        "summary": TEXT,
        "contentType": {"type": "string", "pattern": r"^[a-z]+/[\w.+-]+$"},
        "correlationId": REFERENCE,
        "payload": MULTI_FORMAT_SCHEMA,
    },
    "payload",
)
CHANNEL: Final = closed(
    {
        "address": TEXT,
        "title": TEXT,
        "description": TEXT,
        "parameters": map_of(REFERENCE),
        "messages": map_of(REFERENCE),
    },
    "address",
    "messages",
)
OPERATION: Final = closed(
    {
        "action": {"enum": ["send", "receive"]},
        "channel": REFERENCE,
        "title": TEXT,
        "tags": {"type": "array", "items": closed({"name": TEXT, "description": TEXT}, "name"), "uniqueItems": True},
        "messages": REFERENCES,
        "reply": closed({"channel": REFERENCE, "messages": REFERENCES}),
        "bindings": closed(
            {
                "mqtt": closed(
                    {"qos": {"enum": [0, 1, 2]}, "retain": {"type": "boolean"}, "bindingVersion": {"const": "0.2.0"}}
                )
            }
        ),
    },
    "action",
    "channel",
)
ASYNCAPI: Final = closed(
    {
        "asyncapi": {"const": "3.0.0"},
        "info": closed(
            {"title": TEXT, "version": TEXT, "description": TEXT, "license": closed({"name": TEXT}, "name")},
            "title",
            "version",
        ),
        "defaultContentType": TEXT,
        "servers": map_of(
            closed(
                {
                    "host": TEXT,
                    "protocol": {"const": "mqtt"},
                    "protocolVersion": TEXT,
                    "description": TEXT,
                    "variables": map_of(closed({"default": TEXT, "description": TEXT})),
                },
                "host",
                "protocol",
            )
        ),
        "channels": map_of(CHANNEL),
        "operations": map_of(OPERATION),
        "components": closed(
            {
                "parameters": map_of(closed({"description": TEXT, "examples": {"type": "array", "items": TEXT}})),
                "messages": map_of(MESSAGE),
                "schemas": map_of(MULTI_FORMAT_SCHEMA),
                "correlationIds": map_of(
                    closed(
                        {"location": {"type": "string", "pattern": r"^\$message\."}, "description": TEXT}, "location"
                    )
                ),
            }
        ),
    },
    "asyncapi",
    "info",
)


def references_in(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for inner in value.values() for found in references_in(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in references_in(inner)]
    return []


def resolve(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_the_committed_document_is_the_one_that_the_types_give():
    committed = (REPOSITORY / "docs" / "asyncapi.yaml").read_text(encoding="utf-8")
    assert committed == render_yaml(DOCUMENT), "run: python -m broker.asyncapi docs/asyncapi.yaml"
    assert yaml.safe_load(committed) == DOCUMENT


def test_the_program_writes_the_document_to_the_file_it_is_given(tmp_path, capsys):
    assert main([str(tmp_path / "asyncapi.yaml")]) == 0
    assert (tmp_path / "asyncapi.yaml").read_text(encoding="utf-8") == render_yaml(DOCUMENT)
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_document_has_the_structure_of_asyncapi_3():
    Draft202012Validator.check_schema(ASYNCAPI)
    Draft202012Validator(ASYNCAPI).validate(DOCUMENT)


def official_schema() -> Any:
    packed = (REPOSITORY / "tests" / "data" / "asyncapi" / "3.0.0.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed))


def test_the_document_is_valid_by_the_official_schema_of_asyncapi():
    official = official_schema()
    Draft7Validator.check_schema(official)
    assert "3.0.0" in official["title"]
    Draft7Validator(official).validate(DOCUMENT)


def test_a_misspelt_key_would_be_noticed():
    broken = copy.deepcopy(DOCUMENT)
    broken["operations"]["device-sends-status"]["chanel"] = {"$ref": "#/channels/status"}
    assert list(Draft202012Validator(ASYNCAPI).iter_errors(broken))
    assert list(Draft7Validator(official_schema()).iter_errors(broken))


def test_every_reference_leads_somewhere():
    references = references_in(DOCUMENT)
    assert len(references) > 50
    for reference in references:
        assert resolve(DOCUMENT, reference) is not None


@pytest.mark.parametrize("channel", Channel)
def test_every_channel_says_who_sends_it_and_how(channel):
    rule = RULES[channel]
    operation = DOCUMENT["operations"][f"{rule.writer.value}-sends-{channel.value}"]
    assert operation["channel"] == {"$ref": f"#/channels/{channel.value}"}
    assert operation["bindings"]["mqtt"] == {"qos": 1, "retain": rule.retained, "bindingVersion": "0.2.0"}
    message = DOCUMENT["components"]["messages"][channel.value]
    assert (message["x-version-byte"], message["x-max-bytes"]) == (VERSION, MAX_BYTES[channel])
    address = DOCUMENT["channels"][channel.value]["address"]
    assert {name for name in DOCUMENT["channels"][channel.value]["parameters"] if f"{{{name}}}" in address} == {
        "fleet",
        "shard",
        "device",
    }


@pytest.mark.parametrize("channel", Channel)
def test_every_payload_schema_is_valid_json_schema(channel):
    Draft202012Validator.check_schema(payload_schema(channel, DOCUMENT))


def test_every_field_of_every_struct_is_named_and_described():
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["schema"]["description"], name
        for item in schema["schema"]["prefixItems"]:
            assert item["title"] == "type" or item["description"], f"{name}.{item['title']}: says nothing of itself"


def test_every_number_that_is_no_count_has_a_unit():
    units = (
        "second",
        "degrees",
        "microseconds",
        "unit",
        "probability",
        "probabilities",
        "share",
        "index",
        "difference",
    )
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for item in schema["schema"]["prefixItems"]:
            if item.get("type") == "number":
                said = f"{item['title']} {item['description']}"
                assert any(unit in said for unit in units), f"{name}.{item['title']}: {item['description']}"


def test_a_field_is_described_as_its_docstring_does():
    fields = {f["title"]: f for f in DOCUMENT["components"]["schemas"]["Samples"]["schema"]["prefixItems"]}
    assert set(fields) == {"bundle", "rows"}
    key = DOCUMENT["components"]["schemas"]["RecordKey"]["schema"]["prefixItems"]
    assert key[2]["description"].endswith("tell a dropped record from one that is still under way.")


@pytest.mark.parametrize(
    ("version", "channel"), [(version, channel) for version in EXAMPLES for channel in EXAMPLES[version]]
)
def test_captured_payloads_are_as_the_document_says(version, channel):
    validator = Draft202012Validator(payload_schema(channel, DOCUMENT))
    for payload in unpack(channel, file_of(version, channel, FOLDER).read_bytes()):
        assert payload[0] == DOCUMENT["components"]["messages"][channel.value]["x-version-byte"]
        value = msgspec.msgpack.decode(payload[1:])

        validator.validate(value)
        assert list(validator.iter_errors(value[:1])) or channel is Channel.SAMPLES, "a cut message must not fit"
        assert list(validator.iter_errors({"a": 1}))


@pytest.mark.parametrize("name", MORE)
def test_every_order_and_report_is_as_the_document_says(name):
    channel, _ = MORE[name]
    value = msgspec.msgpack.decode(file_of_more(name).read_bytes()[1:])
    Draft202012Validator(payload_schema(channel, DOCUMENT)).validate(value)
