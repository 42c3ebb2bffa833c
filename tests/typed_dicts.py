"""Holding JSON against the TypedDicts of a client's own types: every field known, every needed one there, every value allowed."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Union

import typing_extensions as later


def fits(value: Any, wanted: Any) -> bool:
    """Strict where pydantic is not: fields that the type does not have are none of its."""
    if later.is_typeddict(wanted):
        hints = later.get_type_hints(wanted)
        known = isinstance(value, dict) and all(
            name in hints and fits(each, hints[name]) for name, each in value.items()
        )
        return known and wanted.__required_keys__ <= value.keys()
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Required, later.Required, Annotated):
        return fits(value, inner[0])
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin in (Literal, later.Literal):
        return value in inner
    if origin in (Iterable, list, Sequence):
        return isinstance(value, list) and all(fits(each, inner[0]) for each in value)
    if origin is not None:  # Dict[str, object], SequenceNotStr[str]
        return isinstance(value, dict if origin is dict else list)
    if wanted in (object, Any):
        return True
    return isinstance(value, int | float if wanted is float else wanted)
