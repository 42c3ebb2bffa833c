"""`trunkline simulate`: reads the files, plays them, prints the result."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import orjson

from gateway.config import Config
from gateway.contract.errors import ConfigError
from gateway.loader import Loaded, policy_of, target_of
from gateway.reload import read
from gateway.routing.route import Order, Route
from gateway.simulate import decisions, scenario
from gateway.simulate.decisions import LogWorld
from gateway.simulate.play import Played, play
from gateway.simulate.result import Result, RouteResult, as_json, as_text
from gateway.simulate.scenario import ScenarioWorld
from gateway.simulate.summary import summary
from gateway.telemetry.decisions import Decision

PATIENCE = 10.0
"""Seconds for a gateway to hand over its log."""
LOG_NOTES = (
    "waits of targets that a request did not ask are drawn from what the log shows of them about that time",
    "what a target would have done under another load is not in a log",
    "the simulation begins knowing nothing, as after a restart; what was recorded may have been warm",
)
FEW = 20
"""Attempts below which a log says little of a target."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What is asked for. `files`: a scenario, or parts of a log; in their stead `url`: of a gateway, and the `key` that it
    asks clients for."""

    files: Sequence[Path] = ()
    url: str | None = None
    key: str | None = None
    route: str | None = None
    policy: str | None = None
    order: Order | None = None
    seed: int | None = None
    json: bool = False


def simulate(config: Config, loaded: Loaded, asked: Simulation) -> str:
    """What is to be printed. Raises ConfigError."""
    routes = routes_of(config, asked.policy, asked.order)
    if asked.route is not None and asked.route not in routes:
        raise ConfigError(f"{config.file}: there is no route {asked.route!r}; it has {', '.join(routes)}")
    sources, world = _world(asked, routes)
    taking_part = dict(_taking_part(routes, world, config.file))
    played = play(taking_part, world, world.seed)
    results = [_result(route, routes, loaded, world, played) for route in taking_part.values()]
    notes: list[str] = []
    if isinstance(world, LogWorld):
        notes += LOG_NOTES
        if world.left_out:
            notes.append(f"{world.left_out} requests of the log were not over or asked nobody: they are left out")
    result = Result(sources, world.length, world.seed, results, notes)
    if asked.json:
        return orjson.dumps(as_json(result), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n"
    return as_text(result)


def routes_of(config: Config, policy: str | None, order: Order | None) -> dict[str, Route]:
    """As the file has them, sleeping targets included; all with the policy of that name or order, if one is given."""
    if policy is not None and policy not in config.policies:
        known = ", ".join(config.policies) or "(none)"
        raise ConfigError(f"{config.file}: no policy is named {policy!r}; known: {known}")
    routes = {}
    for name, row in config.routes.items():
        how = policy_of(config.policies[policy] if policy else config.policy(row))
        how = replace(how, order=order) if order else how
        routes[name] = Route(name, row.kind, tuple(target_of(each) for each in row.targets if each.shadow is None), how)
    return routes


def _world(asked: Simulation, routes: Mapping[str, Route]) -> tuple[str, LogWorld | ScenarioWorld]:
    """And where it is from."""
    chosen = {name: route for name, route in routes.items() if asked.route in (None, name)}
    if asked.url is not None:
        url = asked.url.rstrip("/")
        return url, _log_world(url, decisions.parse(_fetched(url, asked.route, asked.key), url), chosen, asked.seed)
    texts = [(str(path), read(path)) for path in asked.files]
    sources, first = ", ".join(name for name, _ in texts), texts[0][1].lstrip()
    if len(texts) > 1 or first[:1] in ("{", "["):
        logged = [decision for name, text in texts for decision in decisions.parse(text, name)]
        return sources, _log_world(sources, logged, chosen, asked.seed)
    written = scenario.parse(texts[0][1], sources)
    world = ScenarioWorld(written, routes, asked.seed, asked.route)
    return sources, world


def _log_world(source: str, logged: Sequence[Decision], chosen: Mapping[str, Route], seed: int | None) -> LogWorld:
    if not any(decision.route in chosen for decision in logged):
        has = ", ".join(sorted({decision.route for decision in logged})) or "no decision"
        raise ConfigError(f"{source}: the log has {has}; nothing of {', '.join(chosen)}")
    return LogWorld(logged, chosen, 1 if seed is None else seed)


def _fetched(url: str, route: str | None, key: str | None) -> bytes:
    # As `routes --live` does: a gateway is reached directly, whatever proxies the environment names.
    try:
        verify = ssl.create_default_context() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with httpx.Client(verify=verify, trust_env=False, timeout=PATIENCE) as client:
            asked = {"limit": "500"} | ({"route": route} if route else {})
            shown = {"Authorization": f"Bearer {key}"} if key else {}
            answer = client.get(f"{url}/v1/telemetry/decisions", params=asked, headers=shown)
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        raise ConfigError(f"{url}: no decision log there ({type(error).__name__})") from None
    if answer.status_code == 401:
        raise ConfigError(f"{url} asks for a key that it knows: put one into TRUNKLINE_KEY")
    if answer.status_code != 200:
        raise ConfigError(f"{url} answers {answer.status_code} to /v1/telemetry/decisions: is that a gateway?")
    return answer.content


def _taking_part(
    routes: Mapping[str, Route], world: LogWorld | ScenarioWorld, file: str
) -> Iterator[tuple[str, Route]]:
    """The routes that are played, with those of their targets that the world knows."""
    for name, known in world.targets.items():
        targets = tuple(target for target in routes[name].targets if str(target) in known)
        if not targets:
            raise ConfigError(f"{file}: of route {name}, the log has none of the file's targets: {', '.join(known)}")
        yield name, replace(routes[name], targets=targets)


def _result(
    route: Route, routes: Mapping[str, Route], loaded: Loaded, world: LogWorld | ScenarioWorld, played: Played
) -> RouteResult:
    names = [str(target) for target in route.targets]
    of_route = [decision for decision in played.decisions if decision.route == route.name]
    recorded = None
    if isinstance(world, LogWorld):
        recorded = summary([d for d in world.decisions if d.route == route.name], names)
    return RouteResult(
        route,
        summary(of_route, names, [out for out in played.ejections if out.route == route.name]),
        recorded,
        {name: world.targets[route.name][name] for name in names},
        list(_notes(route, routes[route.name], loaded, world)),
    )


def _notes(route: Route, whole: Route, loaded: Loaded, world: LogWorld | ScenarioWorld) -> Iterator[str]:
    source = "log" if isinstance(world, LogWorld) else "scenario"
    known, asleep = world.targets[route.name], loaded.routes[route.name].asleep
    for name in map(str, whole.targets):
        if name not in known:
            yield f"{name} is left out: the {source} does not name it"
        elif name in asleep:
            yield f"{name} is asleep here ({asleep[name]}): it takes part because the {source} names it"
        if name in known and (count := known[name].evidence) is not None and count < FEW:
            if known[name].assumed:
                yield f"{name} was never asked in this log: ASSUMED to be like the route's others"
            else:
                yield f"{name} is known from {count} attempts only: its figures are rough"
    for name in known:
        if name not in map(str, whole.targets):
            yield f"{name} is no target of the file: what the log sent there goes elsewhere"
