"""Form: a multipart upload of one file and some fields, held in memory within limits."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.api.exchange import Exchange
from gateway.contract.errors import BadRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD_LIMIT = 64 << 10
"""Bytes of a field that is no file."""
MOST_PARTS = 64
OVERHEAD = 256 << 10
"""Bytes of fields and of the form itself, beside the file."""


@dataclass(slots=True)
class _Part:
    name: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Form:
    """`file`: the first part that came as one. `fields`: the last of each name; `lists`: all of it, names without `[]`."""

    file: bytes | None
    fields: dict[str, str]
    lists: dict[str, list[str]]


async def read_form(exchange: Exchange, file_limit: int) -> Form:
    """Raises BadRequest: 415 for other types of body, 413 for a file over `file_limit` bytes, 400 for what is no form."""
    kind, options = parse_options_header(exchange.header(b"content-type") or b"")
    if kind != b"multipart/form-data":
        raise BadRequest("send the body as multipart/form-data, with the audio in 'file'", status=415)
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadRequest("the content type names no boundary")
    parts = _Parts(file_limit)
    parser = MultipartParser(boundary, parts.callbacks())
    try:
        async with aclosing(exchange.chunks(file_limit + OVERHEAD)) as chunks:
            async for chunk in chunks:
                parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise BadRequest("the body is no valid multipart form") from None
    if not parts.ended:
        raise BadRequest("the multipart form ends before its last boundary")
    return parts.form()


class _Parts:
    """What the parser's callbacks gather."""

    def __init__(self, file_limit: int) -> None:
        self.ended = False
        self._file_limit = file_limit
        self._parts: list[_Part] = []
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headed,
            "on_end": self._end,
        }

    def form(self) -> Form:
        files = [part for part in self._parts if part.is_file]
        fields: dict[str, str] = {}
        lists: dict[str, list[str]] = {}
        for part in self._parts:
            if not part.is_file:
                name = part.name.removesuffix("[]")
                try:
                    value = part.data.decode()
                except UnicodeDecodeError:
                    raise BadRequest(f"'{name}' is no valid UTF-8", param=name) from None
                fields[name] = value
                lists.setdefault(name, []).append(value)
        return Form(bytes(files[0].data) if files else None, fields, lists)

    def _begin(self) -> None:
        if len(self._parts) >= MOST_PARTS:
            raise BadRequest(f"the form has more than {MOST_PARTS} parts")
        self._parts.append(_Part())
        self._headers = {}

    def _header(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headed(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        part = self._parts[-1]
        part.name = options.get(b"name", b"").decode(errors="replace")
        part.is_file = b"filename" in options

    def _end(self) -> None:
        self.ended = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[-1]
        if part.is_file and any(each.is_file for each in self._parts[:-1]):
            return  # a second file is not looked at
        limit = self._file_limit if part.is_file else FIELD_LIMIT
        if len(part.data) + end - start > limit:
            told = (
                f"the file is larger than {limit >> 20} MB"
                if part.is_file
                else f"a field is larger than {limit >> 10} KB"
            )
            raise BadRequest(f"{told}, the limit here", "file" if part.is_file else None, 413)
        part.data += data[start:end]
