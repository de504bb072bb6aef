"""Describes the wire as an AsyncAPI 3.0 document, made from the channels' rules and the messages' types.

The document is never edited: ``python -m broker.asyncapi docs/asyncapi.yaml`` writes it, and a test compares.
"""

import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from broker import messages
from broker.messages import BODY_OF, MAX_BYTES, VERSION, RecordKey
from broker.packs import MAX_WINDOWS, PACK_VERSION
from broker.topics import LAYOUT, RULES, Channel, DeviceId, FleetId, Writer, device_filters, parse_topic

# A JSON document: what its parts are is for the AsyncAPI specification to say.
Json: TypeAlias = dict[str, Any]

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
_CONTENT_TYPE = f"application/vnd.fieldloop.v{VERSION}+msgpack"
_QOS_BINDING_VERSION = "0.2.0"
_WRITER_SENTENCES = {
    Writer.DEVICE: "The edge agent on one device.",
    Writer.TRAINER: "The trainer, which gives orders.",
    Writer.MONITOR: "The monitor that owns the device's shard.",
    Writer.LABELLER: "Whoever knows the truth about a prediction.",
}
_ATTRIBUTE = re.compile(r"(\w+): (.+)")
_ENTRY_INDENT = 4


def build_document() -> Json:
    """Return the AsyncAPI 3.0 document of the wire, as JSON values."""
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Fieldloop wire",
            "version": f"{LAYOUT}.{VERSION}",
            "license": {"name": "Apache-2.0"},
            "description": (
                f"Topics: fieldloop/{LAYOUT}/<fleet>/<shard>/<device>/<channel>. MQTT 3.1.1 semantics, QoS 1. "
                f"A payload is one version byte ({VERSION}) and then one MessagePack value, which the payload schemas "
                "here describe: structs are arrays, each item's title is the field's name. A newer writer of the same "
                "version appends items, a reader ignores what it does not know; an unknown version byte is refused. "
                "Numbers are finite. Sizes (x-max-bytes, version byte included) are checked before anything is parsed. "
                f"On telemetry, version byte {PACK_VERSION} begins a pack: up to {MAX_WINDOWS} messages of version "
                f"{VERSION} in one range-coded stream, which broker/pack_form.py defines and docs/wire.md describes."
            ),
        },
        "defaultContentType": _CONTENT_TYPE,
        "servers": {
            "loopback": {
                "host": "127.0.0.1:{port}",
                "protocol": "mqtt",
                "protocolVersion": "3.1.1",
                "description": "The broker that `fieldloop broker up` starts.",
                "variables": {"port": {"default": "1883", "description": "As the command prints it."}},
            }
        },
        "channels": {channel.value: _channel(channel) for channel in Channel},
        "operations": _operations(),
        "components": {
            "parameters": _parameters(),
            "messages": {channel.value: _message(channel) for channel in Channel},
            "schemas": _schemas(),
            "correlationIds": {"command_id": {"location": "$message.payload#/0", "description": "The command's id."}},
        },
    }
    # Defaults of tuples become lists, as everywhere in JSON.
    plain: Json = msgspec.json.decode(msgspec.json.encode(document))
    return plain


def render_yaml(document: Json) -> str:
    """Return the document as YAML, the same text for the same document."""
    import yaml  # noqa: PLC0415 - only who changes the wire needs it

    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return f"# Made by `python -m broker.asyncapi docs/asyncapi.yaml`; do not edit.\n{text}"


def payload_schema(channel: Channel, document: Json) -> Json:
    """Return a JSON Schema that stands alone and describes a channel's payload after its version byte."""
    schema: Json = document["components"]["messages"][channel.value]["payload"]["schema"]
    return {"$schema": SCHEMA_DIALECT, **schema, "components": {"schemas": document["components"]["schemas"]}}


def _channel(channel: Channel) -> Json:
    return {
        "address": f"fieldloop/{LAYOUT}/{{fleet}}/{{shard}}/{{device}}/{channel.value}",
        "title": channel.value,
        "description": _summary(BODY_OF[channel]),
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in ("fleet", "shard", "device")},
        "messages": {channel.value: {"$ref": f"#/components/messages/{channel.value}"}},
        "x-spooled": RULES[channel].spooled,
    }


def _parameters() -> Json:
    name = "1 to 63 characters of a-z, 0-9, '-' and '_', starting and ending with a letter or digit."
    return {
        "fleet": {"description": f"The fleet: {name}", "examples": ["stations"]},
        "shard": {
            "description": "The first byte of BLAKE2b (digest size 1) over the device's name, as two hex digits.",
            "examples": ["00", "ff"],
        },
        "device": {"description": f"The device: {name}", "examples": ["station-07"]},
    }


def _operations() -> Json:
    operations: Json = {}
    for channel in Channel:
        writer = RULES[channel].writer
        operations[f"{writer.value}-sends-{channel.value}"] = _operation("send", channel, writer)
    fleet, device = FleetId("fleet"), DeviceId("device")
    for topic in map(parse_topic, device_filters(fleet, device)):
        name = f"{Writer.DEVICE.value}-receives-{topic.channel.value}"
        operations[name] = _operation("receive", topic.channel, Writer.DEVICE)
    return operations


def _operation(action: str, channel: Channel, role: Writer) -> Json:
    operation: Json = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel.value}"},
        "title": f"{role.value} {action}s {channel.value}",
        "tags": [{"name": role.value, "description": _WRITER_SENTENCES[role]}],
        "messages": [{"$ref": f"#/channels/{channel.value}/messages/{channel.value}"}],
    }
    if action == "send":
        operation["bindings"] = {
            "mqtt": {"qos": 1, "retain": RULES[channel].retained, "bindingVersion": _QOS_BINDING_VERSION}
        }
    if channel is Channel.COMMAND:
        reply = Channel.REPLY.value
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{reply}"},
            "messages": [{"$ref": f"#/channels/{reply}/messages/{reply}"}],
        }
    return operation


def _message(channel: Channel) -> Json:
    body: Json = {"$ref": _ref(BODY_OF[channel].__name__)}
    spooled: Json = {
        "title": "Spooled",
        "description": "A record of the device's spool: its name, then its body.",
        "type": "array",
        "prefixItems": [{"title": "key", "$ref": _ref(RecordKey.__name__)}, {"title": "body", **body}],
        "minItems": 2,
    }
    message: Json = {
        "name": BODY_OF[channel].__name__,
        "title": channel.value,
        "summary": _summary(BODY_OF[channel]),
        "contentType": _CONTENT_TYPE,
        "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": spooled if RULES[channel].spooled else body},
        "x-version-byte": VERSION,
        "x-max-bytes": MAX_BYTES[channel],
    }
    if channel in {Channel.COMMAND, Channel.REPLY}:
        message["correlationId"] = {"$ref": "#/components/correlationIds/command_id"}
    return message


def _schemas() -> Json:
    _, components = msgspec.json.schema_components(
        [*BODY_OF.values(), RecordKey], ref_template="#/components/schemas/{name}/schema"
    )
    for name, schema in components.items():
        _name_items(getattr(messages, name), schema)
    return {name: {"schemaFormat": _SCHEMA_FORMAT, "schema": schema} for name, schema in sorted(components.items())}


def _name_items(struct: type[msgspec.Struct], schema: Json) -> None:
    """Give each position the name and the description of its field, which msgspec leaves out of array schemas."""
    descriptions = _attributes(struct)
    names = list(struct.__struct_encode_fields__)
    if struct.__struct_config__.tag is not None:
        names.insert(0, "type")
    schema["description"] = _summary(struct)
    schema["prefixItems"] = [
        {"title": name} | ({"description": descriptions[name]} if name in descriptions else {}) | item
        for name, item in zip(names, schema["prefixItems"], strict=True)
    ]


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}/schema"


def _summary(struct: type) -> str:
    text = inspect.cleandoc(struct.__doc__ or "").split("\nAttributes:")[0]
    return " ".join(text.split())


def _attributes(struct: type) -> dict[str, str]:
    """Return what the docstring's Attributes section says of each field."""
    _, _, section = inspect.cleandoc(struct.__doc__ or "").partition("\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = _ATTRIBUTE.fullmatch(line.strip())
        if entry is not None and len(line) - len(line.lstrip()) == _ENTRY_INDENT:
            name = entry[1]
            found[name] = entry[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def main(arguments: Sequence[str]) -> int:
    """Write the document to the file that is named; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m broker.asyncapi FILE\n")
        return 2
    Path(arguments[0]).write_text(render_yaml(build_document()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
