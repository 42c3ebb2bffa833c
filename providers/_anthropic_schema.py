"""A JSON schema as Anthropic's structured outputs take it: what its own client does to one (anthropic 2.14, transform_schema).

Objects are closed, `oneOf` becomes `anyOf`, and what the model cannot be held to (lengths, ranges, patterns) is told it in the
description, where it mostly follows it.
"""

from __future__ import annotations

from typing import Any

import orjson

_KEPT = {"type", "required", "$ref", "enum", "const", "description", "title", "default"}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}


def supported(schema: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    wishes: dict[str, Any] = {}
    for name, value in schema.items():
        match name, value:
            case (("properties" | "$defs" | "definitions"), dict()):
                told[name] = {key: _inner(each) for key, each in value.items()}
            case (("anyOf" | "oneOf"), list()):
                told["anyOf"] = [_inner(each) for each in value]
            case "allOf", list():
                told[name] = [_inner(each) for each in value]
            case "items", dict():
                told[name] = supported(value)
            case (("additionalProperties" | "$schema"), _):
                pass
            case _ if name in _KEPT or (name == "minItems" and value in (0, 1)):
                told[name] = value
            case "format", str() if value in _FORMATS:
                told[name] = value
            case _:
                wishes[name] = value
    if told.get("type") == "object" or "properties" in told:
        told["additionalProperties"] = False
    if wishes:
        told["description"] = "\n\n".join(filter(None, (told.get("description"), orjson.dumps(wishes).decode())))
    return told


def _inner(schema: Any) -> Any:
    return supported(schema) if isinstance(schema, dict) else schema
