"""Reading a provider's `options` in routes.yaml."""

from __future__ import annotations

from typing import Any

from gateway.contract.provider import Settings

_TOLD = {
    str: "text",
    int: "a whole number from 1",
    bool: "true or false",
    float: "a number with a point",
    list: "a list of texts",
    dict: "a mapping from text to text",
}


def read(settings: Settings, deep: tuple[str, ...] = (), **known: Any) -> dict[str, Any]:
    """The options with these names and defaults. Raises ValueError for any other name, and for a value not of its default's
    type (None: text). A number is at least 1; lists are of texts, and mappings from text to text, except those that
    `deep` names, which may hold anything."""
    for name, value in settings.options.items():
        if name not in known:
            raise ValueError(f"there is no option {name!r}; there are {', '.join(known)}")
        wanted = str if known[name] is None else type(known[name])
        too_small = wanted is int and isinstance(value, int) and value < 1
        if type(value) is not wanted or too_small or not (name in deep or _texts(value)):
            raise ValueError(f"option {name!r} is to be {_TOLD[wanted]}")
    return {**known, **settings.options}


def one_of(options: dict[str, Any], name: str, choices: tuple[str, ...]) -> Any:
    """The option, which must be one of these if it is given. Raises ValueError."""
    value = options[name]
    if value is not None and value not in choices:
        raise ValueError(f"option {name!r} is to be one of {', '.join(choices)}")
    return value


def _texts(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(each, str) for pair in value.items() for each in pair)
    return not isinstance(value, list) or all(isinstance(each, str) for each in value)
