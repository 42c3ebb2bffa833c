"""routes.yaml -> Config. Every mistake is named with its path and line; nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gateway.contract.errors import ConfigError
from gateway.contract.requests import Kind
from gateway.yaml_lines import Document, Path, dotted, read

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")


def _seconds(value: object) -> float:
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a duration; write a number with a unit: 500ms, 1.5s, 2m, 1h")
    return float(match[1]) * _UNITS[match[2]]


def _share(value: object) -> float:
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match[1]) > 100:
        raise ValueError("not a share; write a percentage: 5%")
    return float(match[1]) / 100


Seconds = Annotated[float, BeforeValidator(_seconds)]
Share = Annotated[float, BeforeValidator(_share)]
_RELAY = r"^(turns?:[A-Za-z0-9.\-\[\]:]+(\?transport=(udp|tcp))?|stuns?:[A-Za-z0-9.\-\[\]:]+)$"
"""RFC 7064, RFC 7065."""


def _port_range(value: object) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})\s*-\s*(\d{1,5})", value.strip()) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ValueError("not a range of ports; write first-last: 40000-40999")
    return int(match[1]), int(match[2])


def _tokens(value: object) -> int:
    match = re.fullmatch(r"(\d{1,9})(k?)", str(value).strip()) if isinstance(value, str | int) else None
    if match is None or isinstance(value, bool):
        raise ValueError("not a number of tokens; write 128000 or 128k")
    return int(match[1]) * (1000 if match[2] else 1)


Dollars = Annotated[float, Field(ge=0, strict=False)]
Tokens = Annotated[int, BeforeValidator(_tokens)]
Ports = Annotated[tuple[int, int], BeforeValidator(_port_range)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Row = TypeVar("Row", bound=BaseModel)


class ProviderRow(_Row):
    """`module`: the file in providers/ (default: the row's name); `options`: what that module documents."""

    module: str | None = None
    base_url: str | None = None
    key: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class HedgeRow(_Row):
    budget: Share = 0.05


class EjectRow(_Row):
    consecutive: Annotated[int, Field(ge=1, le=1000)] = 3
    base: Seconds = 5.0
    max: Seconds = 20.0


class ProbeRow(_Row):
    every: Annotated[Seconds, Field(ge=1)] = 600.0
    daily: Annotated[int, Field(ge=1, le=100_000)] = 50


class PolicyRow(_Row):
    order: Literal["ttft", "priority", "weighted", "cost"] = "ttft"
    ttft_deadline: Seconds = 6.0
    answer: Seconds = 60.0
    idle: Seconds = 20.0
    total: Seconds = 600.0
    hedge: HedgeRow = HedgeRow()
    eject: EjectRow = EjectRow()
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    retry_budget: Share = 0.1
    mid_stream: Literal["error", "restart", "continue"] = "continue"
    max_price: Annotated[float, Field(ge=0, strict=False)] | None = None
    probe: ProbeRow | None = None


class TargetRow(_Row):
    """`target`: provider/model; the rest: docs/routes.md."""

    target: str
    weight: Annotated[float, Field(ge=0, le=1_000_000, strict=False)] = 1.0
    price: Annotated[float, Field(ge=0, strict=False)] | None = None
    context: Tokens | None = None
    region: str | None = None
    languages: list[str] = Field(default_factory=list)
    canary: Share | None = None
    shadow: Share | None = None


def _target(value: object) -> object:
    return {"target": value} if isinstance(value, str) else value


class RouteRow(_Row):
    kind: Kind
    targets: Annotated[list[Annotated[TargetRow, BeforeValidator(_target)]], Field(min_length=1, max_length=200)]
    policy: str | None = None
    voices: dict[str, dict[str, str]] = Field(default_factory=dict)


class CascadedRow(_Row):
    stt: str
    llm: str
    tts: str


class OmniRow(_Row):
    s2s: str


class SlowRow(_Row):
    above: Seconds
    turns: Annotated[int, Field(ge=1, le=100)] = 3


class SwitchRow(_Row):
    on_failure: bool = True
    back_after: Seconds = 30.0
    slow: SlowRow | None = None
    after: Seconds | None = None
    spend: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    language: bool = False


class CallRow(_Row):
    kind: Literal["call"]
    start: Literal["cascaded", "omni"] = "cascaded"
    cascaded: CascadedRow | None = None
    omni: OmniRow | None = None
    switch: SwitchRow = SwitchRow()
    instructions: str = ""
    greeting: str = ""
    voice: str | None = None
    language: str | None = None
    apology: Annotated[str, Field(max_length=300)] = "Sorry, I cannot answer right now. One moment, please."


class RelaysRow(_Row):
    urls: Annotated[list[Annotated[str, Field(pattern=_RELAY)]], Field(min_length=1, max_length=8)]
    secret: str | None = None
    ttl: Annotated[Seconds, Field(ge=60.0, le=3600.0)] = 3600.0


class MediaRow(_Row):
    """`addresses`: offered to callers (default: the bind address when that is loopback, else the interfaces)."""

    addresses: list[str] = Field(default_factory=list)
    announce: str | None = None
    ports: Ports | None = None
    relays: RelaysRow | None = None


class PriceRow(_Row):
    """US dollars for a million tokens (or characters) of each sort, and for a minute of audio."""

    input: Dollars | None = None
    output: Dollars | None = None
    cached: Dollars | None = None
    cache_write: Dollars | None = None
    reasoning: Dollars | None = None
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    image_input: Dollars | None = None
    characters: Dollars | None = None
    minute: Dollars | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in the file: what, and where."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.message}" if self.path else f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True)
class Config:
    """What routes.yaml says. `where` gives the line of a path for later checks."""

    file: str
    document: Document
    providers: Mapping[str, ProviderRow] = field(default_factory=dict)
    policies: Mapping[str, PolicyRow] = field(default_factory=dict)
    routes: Mapping[str, RouteRow] = field(default_factory=dict)
    calls: Mapping[str, CallRow] = field(default_factory=dict)
    media: MediaRow = field(default_factory=MediaRow)
    prices: Mapping[str, str | PriceRow] = field(default_factory=dict)

    def problem(self, path: Path, message: str) -> Problem:
        return Problem(self.file, self.document.line(path), dotted(path), message)

    def policy(self, route: RouteRow) -> PolicyRow:
        return self.policies[route.policy] if route.policy else PolicyRow()


class BadConfig(ConfigError):
    """Carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


_SECTIONS = ("providers", "policies", "routes", "media", "prices")


def parse(text: str, file: str = "routes.yaml") -> Config:
    """Raises BadConfig with every mistake that can be seen without loading providers; ConfigError if it is no YAML."""
    document = read(text, file)
    config = Config(file, document)
    if not isinstance(document.value, dict):
        raise BadConfig([Problem(file, 1, "", "the file must be a mapping with providers, policies, routes")])
    problems = [
        config.problem((key,), f"unknown section; known: {', '.join(_SECTIONS)}")
        for key in document.value
        if key not in _SECTIONS
    ]
    sections: dict[str, Any] = {}
    for name in _SECTIONS:
        section = document.value.get(name)
        if section is not None and not isinstance(section, dict):
            problems.append(config.problem((name,), "must be a mapping"))
        sections[name] = section if isinstance(section, dict) else {}
    rows = _Rows(config, problems)
    config = Config(
        file,
        document,
        rows.each(sections["providers"], ("providers",), ProviderRow),
        rows.each(sections["policies"], ("policies",), PolicyRow),
        rows.each({k: v for k, v in sections["routes"].items() if not _is_call(v)}, ("routes",), RouteRow),
        rows.each({k: v for k, v in sections["routes"].items() if _is_call(v)}, ("routes",), CallRow),
        rows.one(sections["media"], ("media",), MediaRow) or MediaRow(),
        rows.prices(sections["prices"]),
    )
    if not problems:
        problems = list(_cross_checks(config))
    if problems:
        raise BadConfig(sorted(problems, key=lambda p: p.line))
    return config


def row_of(config: Config, value: object, path: Path, model: type[Row]) -> Row:
    """What another file of ours says at `path`. Raises BadConfig with every mistake."""
    problems: list[Problem] = []
    row = _Rows(config, problems).one(value, path, model)
    if row is None:
        raise BadConfig(sorted(problems, key=lambda p: p.line))
    return row


def _is_call(row: object) -> bool:
    return isinstance(row, dict) and row.get("kind") == "call"


class _Rows:
    """Validates rows, collecting problems instead of stopping at the first."""

    def __init__(self, config: Config, problems: list[Problem]) -> None:
        self._config, self._problems = config, problems

    def each(self, section: dict[str, Any], path: Path, model: type[Row]) -> dict[str, Row]:
        out: dict[str, Row] = {}
        for name, value in section.items():
            if not _NAME.fullmatch(name):
                self._problems.append(self._config.problem((*path, name), "a name has letters, digits and _ . : -"))
            elif (row := self.one({} if value is None else value, (*path, name), model)) is not None:
                out[name] = row
        return out

    def prices(self, section: dict[str, Any]) -> dict[str, str | PriceRow]:
        """By target: the one section whose names are not ours to shape."""
        rows: dict[str, str | PriceRow] = {}
        for target, value in section.items():
            path: Path = ("prices", target)
            if "/" not in str(target):
                self._problems.append(self._config.problem(path, "not a target; write provider/model"))
            elif isinstance(value, str):
                rows[target] = value
            elif (row := self.one(value, path, PriceRow)) is not None:
                rows[target] = row
        return rows

    def one(self, value: object, path: Path, model: type[Row]) -> Row | None:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            self._problems.extend(self._explain(path, found) for found in error.errors())
            return None

    def _explain(self, path: Path, found: Any) -> Problem:
        loc = tuple(part for part in found["loc"])
        match found["type"]:
            case "extra_forbidden":
                message = "unknown key"
            case "missing":
                message = "missing"
            case "literal_error":
                more = " or 'call'" if loc == ("kind",) else ""
                message = f"must be {found['ctx']['expected']}{more}"
            case "value_error":
                message = str(found["ctx"]["error"])
            case _:
                message = str(found["msg"])
        return self._config.problem((*path, *loc), message)


def _cross_checks(config: Config) -> Iterator[Problem]:
    if not config.routes and not config.calls:
        yield Problem(config.file, config.document.line(("routes",)), "routes", "there is no route")
    for name, row in config.routes.items():
        if row.policy is not None and row.policy not in config.policies:
            known = ", ".join(config.policies) or "(none)"
            yield config.problem(("routes", name, "policy"), f"no policy is named {row.policy!r}; known: {known}")
        elif row.kind == "s2s" and config.policy(row).probe is not None:
            yield config.problem(("routes", name, "policy"), "s2s targets are not probed; give it one without `probe`")
        yield from _check_shadows(config, name, row)
        names = [each.target for each in row.targets]
        if row.voices and row.kind not in ("tts", "s2s"):
            yield config.problem(("routes", name, "voices"), f"a route of kind {row.kind} has no voices")
        callers = {*names, *(target.partition("/")[0] for target in names)}
        for voice, called in row.voices.items():
            for who in called.keys() - callers:
                yield config.problem(("routes", name, "voices", voice, who), "no target of this route is called so")
        for index, target in enumerate(names):
            provider, slash, model = target.partition("/")
            path: Path = ("routes", name, "targets", index)
            if not slash or not provider or not model:
                yield config.problem(path, f"{target!r} is no target; write provider/model")
            elif target in names[:index]:
                yield config.problem(path, f"{target!r} stands here twice")
    for name, call in config.calls.items():
        yield from _check_call(config, name, call)


def _check_shadows(config: Config, name: str, row: RouteRow) -> Iterator[Problem]:
    shadows = [index for index, each in enumerate(row.targets) if each.shadow is not None]
    for index in shadows:
        path: Path = ("routes", name, "targets", index)
        if row.kind != "llm":
            yield config.problem((*path, "shadow"), f"only llm routes send copies, and this is one of kind {row.kind}")
        elif row.targets[index].canary is not None:
            yield config.problem(path, "a shadow serves nobody, a canary does; say one of them")
    if len(shadows) == len(row.targets):
        yield config.problem(("routes", name, "targets"), "all of them are shadows, which serve nobody")


def _check_call(config: Config, name: str, call: CallRow) -> Iterator[Problem]:
    path: Path = ("routes", name)
    if call.start == "omni" and call.omni is None:
        yield config.problem((*path, "start"), "a call that starts in omni needs omni: {s2s: ...}")
    if call.cascaded is None:
        yield config.problem(path, "a call needs cascaded: {stt: ..., llm: ..., tts: ...}")
    legs: list[tuple[str, BaseModel]] = [("cascaded", call.cascaded)] if call.cascaded else []
    legs += [("omni", call.omni)] if call.omni else []
    for leg, row in legs:
        for kind, route in row.model_dump().items():
            where: Path = (*path, leg, kind)
            found = config.routes.get(route)
            if found is None:
                fitting = ", ".join(n for n, r in config.routes.items() if r.kind == kind) or "(none)"
                yield config.problem(where, f"no route is named {route!r}; routes of kind {kind}: {fitting}")
            elif found.kind != kind:
                yield config.problem(where, f"route {route!r} is of kind {found.kind}, not {kind}")
