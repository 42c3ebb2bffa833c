"""YAML read with the line of every value, and nothing that YAML can hide: no tags, no duplicate keys, no alias bombs."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from gateway.contract.errors import ConfigError

MOST_BYTES = 1_000_000
MOST_VALUES = 50_000
DEEPEST = 50
TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null"))

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Document:
    """`value`: plain dicts, lists and scalars; `lines`: 1-based line of each path (of the key, for a mapping's value)."""

    value: object
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest parent that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str, name: str) -> Document:
    """Raises ConfigError naming `name` and the line."""
    if len(text.encode()) > MOST_BYTES:
        raise ConfigError(f"{name}: larger than {MOST_BYTES} bytes")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: {error.problem or error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name}: not readable as YAML ({type(error).__name__})") from error
    document = Document({})
    if node is not None:
        document.value = _Reader(name, document.lines).value(node, ())
    return document


class _Reader:
    def __init__(self, name: str, lines: dict[Path, int]) -> None:
        self._name, self._lines, self._seen = name, lines, 0
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, path: Path) -> object:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        self._seen += 1
        if self._seen > MOST_VALUES or len(path) > DEEPEST:
            raise ConfigError(f"{self._name}:{line}: too many values, or too deeply nested")
        if node.tag not in TAGS:
            raise ConfigError(f"{self._name}:{line}: the tag {node.tag} is not allowed")
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{self._name}:{line}: not a value: {node.value[:40]!r}") from error

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        out: dict[str, object] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{self._name}:{line}: a key must be a plain word")
            name = str(key.value)
            if name in out:
                raise ConfigError(f"{self._name}:{line}: {dotted((*path, name))} stands here twice")
            self._lines[(*path, name)] = line
            out[name] = self.value(item, (*path, name))
        return out


def dotted(path: Path) -> str:
    """`("routes", "chat", "targets", 0)` as `routes.chat.targets[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
