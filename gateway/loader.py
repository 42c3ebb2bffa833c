"""Imports providers by name, builds them, and finds which targets are awake. The only place that knows `providers` exists."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from gateway.access.relays import Relays
from gateway.config import BadConfig, Config, PolicyRow, PriceRow, Problem, ProviderRow, RouteRow, TargetRow
from gateway.contract.provider import (
    Embedder,
    LanguageModel,
    NeedsWeights,
    Secret,
    Settings,
    Sleeper,
    SpeechToSpeech,
    SpeechToText,
    TextToSpeech,
)
from gateway.contract.requests import Kind
from gateway.contract.weights import Weights
from gateway.routing.route import CallRoute, Eject, Policy, Probing, Route, Switch, Target
from gateway.telemetry.prices import FREE, MILLION, Price, Table, read_table

log = logging.getLogger(__name__)

SERVES: Mapping[Kind, type] = MappingProxyType(
    {"llm": LanguageModel, "stt": SpeechToText, "tts": TextToSpeech, "s2s": SpeechToSpeech, "embed": Embedder}
)
_MODULE = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Loaded:
    """`providers`: built, by row name; `routes` hold only targets that are awake, and say why others are not."""

    providers: Mapping[str, object]
    routes: Mapping[str, Route]
    calls: Mapping[str, CallRoute]
    settings: Mapping[str, Settings] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By target; one whose price nobody knows is not in it."""
    relays: Relays = field(default_factory=Relays)

    def weights(self) -> tuple[Weights, ...]:
        """What `trunkline models pull` fetches for these routes, asleep or not."""
        found: dict[str, Weights] = {}
        for route in self.routes.values():
            for name in [*map(str, route.targets), *map(str, route.shadows), *route.asleep]:
                provider, _, model = name.partition("/")
                built = self.providers.get(provider)
                if isinstance(built, NeedsWeights):
                    found |= {item.name: item for item in built.weights(model)}
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class _Built:
    provider: object | None
    asleep: str | None
    settings: Settings | None = None


def load(config: Config, env: Mapping[str, str], before: Loaded | None = None) -> Loaded:
    """Raises BadConfig for a target whose provider does not exist or cannot serve its route's kind.

    `before`: what is in service; a provider whose settings did not change is taken over from it.
    """
    problems: list[Problem] = []
    built: dict[str, _Built] = {}
    routes: dict[str, Route] = {}
    for name, row in config.routes.items():
        awake: list[Target] = []
        shadows: list[Target] = []
        asleep: dict[str, str] = {}
        for index, each in enumerate(row.targets):
            target = target_of(each)
            provider = target.provider
            if provider not in built:
                found = _build(config, provider, env, before)
                if isinstance(found, str):
                    problems.append(config.problem(("routes", name, "targets", index), found))
                    continue
                built[provider] = found
            why = _why_asleep(built[provider], row, target)
            if isinstance(why, Unfit):
                problems.append(config.problem(("routes", name, "targets", index), why))
            elif why is None:
                (awake if target.shadow is None else shadows).append(target)
            else:
                asleep[each.target] = why
        policy = policy_of(config.policy(row))
        routes[name] = Route(name, row.kind, tuple(awake), policy, asleep, row.voices, tuple(shadows))
    table = read_table(_own_table(env))
    used = {target for route in routes.values() for target in (*route.targets, *route.shadows)}
    prices = _prices(config, used, built, table, problems)
    relays = _relays(config, env, problems)
    if problems:
        raise BadConfig(problems)
    providers = {name: b.provider for name, b in built.items() if b.provider is not None}
    settings = {name: b.settings for name, b in built.items() if b.settings is not None}
    return Loaded(providers, routes, _calls(config), settings, prices, relays)


def _relays(config: Config, env: Mapping[str, str], problems: list[Problem]) -> Relays:
    """Without TURN where its secret is of an environment that does not have it."""
    row = config.media.relays
    if row is None:
        return Relays()
    secret, unset = _resolve(row.secret, env)
    urls = row.urls
    if unset is not None:
        log.warning("media.relays: %s, so that no TURN server is told to callers", unset)
        urls = [url for url in urls if url.startswith("stun")]
    elif any(url.startswith("turn") for url in urls) and not secret:
        problems.append(config.problem(("media", "relays"), "turn: needs the secret that the TURN server has"))
    return Relays(tuple(urls), secret or "", int(row.ttl))


def _own_table(env: Mapping[str, str]) -> Path | None:
    named = env.get("TRUNKLINE_PRICES")
    return Path(named).expanduser() if named else None


def _prices(
    config: Config, targets: Iterable[Target], built: Mapping[str, _Built], table: Table, problems: list[Problem]
) -> dict[str, Price]:
    """What is known of each target's price: as the file says, nothing for what runs here, else LiteLLM's table."""
    named = {each.target for route in config.routes.values() for each in route.targets}
    problems += [
        config.problem(("prices", name), "no route has this target") for name in config.prices if name not in named
    ]
    prices: dict[str, Price] = {}
    for target in targets:
        name, row = str(target), config.prices.get(str(target))
        if isinstance(row, PriceRow):
            found: Price | None = _price(row)
        elif row == "free" or (row is None and isinstance(built[target.provider].provider, NeedsWeights)):
            found = FREE
        elif row is not None:
            found = table.price(row)
            if found is None and table:
                problems.append(config.problem(("prices", name), f"the table of prices has no {row!r}"))
        else:
            module = config.providers.get(target.provider, ProviderRow()).module or target.provider
            found = table.find(target.provider, module, target.model)
        if found is not None:
            prices[name] = found
    return prices


def _price(row: PriceRow) -> Price:
    def each(dollars: float | None, of: float = MILLION) -> float | None:
        return None if dollars is None else dollars / of

    return Price(
        each(row.input),
        each(row.output),
        each(row.cached),
        each(row.cache_write),
        each(row.reasoning),
        each(row.audio_input),
        each(row.audio_output),
        each(row.image_input),
        each(row.minute, 60.0),
        each(row.characters),
    )


class Unfit(str):
    """Why a target can never serve its route: a mistake in the file, where sleep is only a circumstance."""


def _why_asleep(built: _Built, row: RouteRow, target: Target) -> str | Unfit | None:
    if built.provider is None:
        return built.asleep
    if not isinstance(built.provider, SERVES[row.kind]):
        serves = ", ".join(kind for kind, protocol in SERVES.items() if isinstance(built.provider, protocol))
        return Unfit(f"{target.provider} does not serve {row.kind}; it serves {serves}")
    if built.asleep is not None:
        return built.asleep
    return built.provider.asleep(target.model) if isinstance(built.provider, Sleeper) else None


def _build(config: Config, name: str, env: Mapping[str, str], before: Loaded | None) -> _Built | str:
    """The provider, or what is wrong with the file."""
    row = config.providers.get(name, ProviderRow())
    module_name = row.module or name
    if not _MODULE.fullmatch(module_name) or importlib.util.find_spec(f"providers.{module_name}") is None:
        rows = ", ".join(config.providers)
        return f"no provider is named {name!r}: providers/{module_name}.py does not exist (rows of this file: {rows})"
    base_url, no_url = _resolve(row.base_url, env)
    key, no_key = _resolve(row.key, env)
    try:
        module = importlib.import_module(f"providers.{module_name}")
    except ImportError as error:
        return _Built(None, f"its package is not installed ({error.name or type(error).__name__})")
    settings = Settings(name, base_url, Secret(key) if key else None, MappingProxyType(dict(row.options)))
    if before is not None and before.settings.get(name) == settings:
        kept = before.providers[name]
        if type(kept).__module__ == module.__name__:
            return _Built(kept, no_url or no_key, settings)
    try:
        provider = module.Provider(settings)
    except ValueError as error:
        return f"provider {name!r}: {error}"
    return _Built(provider, no_url or no_key, settings)


def _resolve(value: str | None, env: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The value, `$NAME` looked up; and, if that is unset or empty, the reason to sleep."""
    if value is None or not value.startswith("$"):
        return value, None
    found = env.get(value[1:], "").strip()
    return (found, None) if found else (None, f"{value[1:]} is not set")


def target_of(row: TargetRow) -> Target:
    provider, _, model = row.target.partition("/")
    return Target(
        provider,
        model,
        row.weight,
        row.price,
        row.context,
        row.region,
        tuple(row.languages),
        row.canary,
        row.shadow,
    )


def policy_of(row: PolicyRow) -> Policy:
    return Policy(
        row.order,
        row.ttft_deadline,
        row.answer,
        row.idle,
        row.total,
        row.hedge.budget,
        Eject(row.eject.consecutive, row.eject.base, row.eject.max),
        row.retries,
        row.retry_budget,
        row.mid_stream,
        row.max_price,
        Probing(row.probe.every, row.probe.daily) if row.probe is not None else None,
    )


def _calls(config: Config) -> dict[str, CallRoute]:
    calls = {}
    for name, row in config.calls.items():
        assert row.cascaded is not None  # config.py refuses a call without it
        leg, slow = row.cascaded, row.switch.slow
        rule = row.switch
        switch = Switch(rule.on_failure, rule.back_after, usd=rule.spend, language=rule.language)
        if row.switch.after is not None:
            switch = replace(switch, minutes=row.switch.after / 60)
        if slow is not None:
            switch = replace(switch, ttft=slow.above, turns=slow.turns)
        calls[name] = CallRoute(
            name,
            leg.stt,
            leg.llm,
            leg.tts,
            row.instructions,
            row.greeting,
            row.voice,
            row.language,
            row.omni.s2s if row.omni is not None else None,
            row.start,
            switch,
            row.apology,
        )
    return calls
