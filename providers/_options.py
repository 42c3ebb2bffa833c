"""Reading a provider's `options` in routes.yaml."""

from __future__ import annotations

from typing import Any

from gateway.contract.provider import Settings


def read(settings: Settings, **known: Any) -> dict[str, Any]:
    """The options with these names and defaults. Raises ValueError for any other name, and for a value not of its default's
    type (None: text). A number is at least 1."""
    for name, value in settings.options.items():
        if name not in known:
            raise ValueError(f"there is no option {name!r}; there are {', '.join(known)}")
        wanted = str if known[name] is None else type(known[name])
        too_small = wanted is int and isinstance(value, int) and value < 1
        if type(value) is not wanted or too_small:
            told = {str: "text", int: "a whole number from 1", bool: "true or false"}[wanted]
            raise ValueError(f"option {name!r} is to be {told}")
    return {**known, **settings.options}
