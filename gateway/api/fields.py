"""Fields: reading a JSON object that a caller wrote, with errors that name the field and never its value."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import orjson

from gateway.api.exchange import JSON_LIMIT, Exchange
from gateway.contract.errors import BadRequest

HEAVIEST = 2_000_000
"""Weight of the heaviest body parsed: about 70 ms of the loop (see `_weigh`)."""
DEEPEST = 200
"""Containers within containers: orjson reads 1024 but writes only 254, and a provider has to write the body again."""
_TYPES = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "an array", dict: "an object"}


async def read_object(exchange: Exchange) -> Fields:
    """The body of a request that must be JSON. Raises BadRequest (400, 408, 413, 415)."""
    kind = exchange.header(b"content-type")
    if kind != b"application/json" and not _is_json(kind or b""):
        # Strict also because a web page can send any other type to a server on this machine without asking first.
        raise BadRequest("send the body as JSON, with Content-Type: application/json", status=415)
    data = await exchange.read(JSON_LIMIT)
    containers = data.count(b"{") + data.count(b"[")
    if len(data) > HEAVIEST // 20:
        _weigh(data, containers)
        await asyncio.sleep(0)  # large bodies give way between their steps, none of which takes 100 ms
    parsed = _parse(data)
    if containers > DEEPEST:
        await asyncio.sleep(0)
        _measure_depth(parsed)
    return Fields(parsed, raw=data)


def _is_json(kind: bytes) -> bool:
    bare = kind.partition(b";")[0].strip().lower()
    return bare == b"application/json" or (bare.startswith(b"application/") and bare.endswith(b"+json"))


def _weigh(data: bytes, containers: int) -> None:
    """Parsing costs about 0.6 us for each member of an object, 0.35 for each container and 0.03 for each other element, by
    measurement; counting bytes costs a hundredth of that. Those inside strings count too, which long texts stay far below."""
    if 20 * data.count(b":") + 12 * containers + data.count(b",") > HEAVIEST:
        raise BadRequest("the body has too many elements to be parsed", status=413)


def _parse(data: bytes) -> dict[str, object]:
    """orjson itself refuses depths beyond 1024, NaN, and broken UTF-8."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no valid JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(parsed, dict):
        raise BadRequest("the body must be a JSON object")
    return parsed


def _measure_depth(parsed: object) -> None:
    level: list[object] = [parsed]
    for _ in range(DEEPEST):
        values = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [value for group in values for value in group if type(value) in (dict, list)]
        if not level:
            return
    raise BadRequest(f"the body is nested more than {DEEPEST} deep")


class Fields:
    """An object of the body. `path`: what its fields' names begin with, such as `messages[0].`; `raw`: the bytes of a whole body.
    Absent and null are the same."""

    __slots__ = ("mapping", "path", "raw")

    def __init__(self, mapping: Mapping[str, object], path: str = "", raw: bytes = b"") -> None:
        self.mapping, self.path, self.raw = mapping, path, raw

    def text(self, name: str, most: int | None = None) -> str | None:
        """A string of at most `most` characters."""
        value = self.mapping.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        if most is not None and len(value) > most:
            raise self.fault(name, f"must have at most {most} characters, not {len(value)}")
        return value

    def needed_text(self, name: str, most: int | None = None) -> str:
        value = self.text(name, most)
        if value is None:
            raise self.fault(name, "is missing")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.mapping.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "a number", value)
        if not low <= value <= high:
            raise self.fault(name, f"must be between {low:g} and {high:g}")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int | None:
        value = self.mapping.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "an integer", value)
        if not low <= value <= high:
            raise self.fault(name, f"must be between {low} and {high}")
        return value

    def flag(self, name: str) -> bool:
        return self.maybe_flag(name) or False

    def maybe_flag(self, name: str) -> bool | None:
        value = self.mapping.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "a boolean", value)
        return value

    def choice(self, name: str, options: Sequence[str], default: str) -> str:
        value = self.text(name)
        if value is None:
            return default
        if value not in options:
            raise self.fault(name, f"must be one of {', '.join(options)}")
        return value

    def items(self, name: str, most: int) -> list[object]:
        value = self.mapping.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "an array", value)
        if len(value) > most:
            raise self.fault(name, f"must have at most {most} elements, not {len(value)}")
        return value

    def inner(self, name: str) -> Fields | None:
        """The object under that name."""
        value = self.mapping.get(name)
        return None if value is None else self.of(value, name)

    def needed_inner(self, name: str) -> Fields:
        inner = self.inner(name)
        if inner is None:
            raise self.fault(name, "is missing")
        return inner

    def of(self, value: object, name: str) -> Fields:
        """An element, as an object. `name`: such as `messages[0]`."""
        if not isinstance(value, dict):
            raise self._wrong(name, "an object", value)
        return Fields(value, f"{self.path}{name}.")

    def fault(self, name: str, problem: str) -> BadRequest:
        param = self.path + name
        return BadRequest(f"'{param}' {problem}", param=param)

    def _wrong(self, name: str, wanted: str, value: object) -> BadRequest:
        return self.fault(name, f"must be {wanted}, not {_TYPES.get(type(value), 'null')}")
