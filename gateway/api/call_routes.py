"""CallRoutes: what a name in `model` means to whoever wants a call, or only to be heard. And whose call an id is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.access.grant import Grant
from gateway.calls.call import Call
from gateway.calls.leg import Names
from gateway.calls.registry import Registry
from gateway.contract.errors import BadRequest, CallElsewhere, NoSuchRoute, NoTargetAwake, WrongKind
from gateway.routing.route import CallRoute, Route


class CallRoutes:
    """`routes`: the engine's; `calls`: the routes of kind call, as they are now."""

    def __init__(self, routes: Mapping[str, Route], calls: Callable[[], Mapping[str, CallRoute]]) -> None:
        self._routes, self._calls = routes, calls

    def call(self, name: str | None, grant: Grant) -> CallRoute:
        """Without a name, the first that the key may use. Raises NoSuchRoute, WrongKind, RouteNotAllowed, NoTargetAwake."""
        calls = self._calls()
        name = name or next(iter([each for each in calls if grant.allows(each)] or calls), None)
        if name is None:
            raise BadRequest("routes.yaml has no route of kind call", "model", 404)
        grant.check(name, calls)
        if name in calls:
            self._wake(calls[name])
            return calls[name]
        if name in self._routes:
            raise WrongKind(name, self._routes[name].kind, "call", grant.among(calls))
        raise NoSuchRoute(name, grant.among(calls))

    def hearing(self, name: str | None, grant: Grant) -> CallRoute:
        """Of one stt route alone: the one named (a call's route stands for its own). Clients name models of OpenAI's here, so an
        unknown name means the first that the key may use. Raises as `call` does."""
        known = self._stt(name) if name is not None else None
        if known is None:
            if name in self._routes and name is not None and grant.allows(name):
                raise WrongKind(name, self._routes[name].kind, "stt", self._hearing(grant))
            known = next(iter(self._hearing(grant)), None)
        if known is None:
            raise BadRequest("there is no route of kind stt that this key may use", "model", 404)
        grant.check(known, self._hearing(grant))
        self._check_awake(known)
        return CallRoute(known, known, "", "")

    def names(self, grant: Grant) -> Names:
        """What that key means by a name in the middle of a call."""
        return Names(lambda name: self._stt_named(name, grant), lambda name: self._call_named(name, grant))

    def _call_named(self, name: str, grant: Grant) -> CallRoute | None:
        route = self._calls().get(name)
        return route if route is not None and grant.allows(name) else None

    def _stt_named(self, name: str, grant: Grant) -> str | None:
        known = self._stt(name)
        return known if known is not None and grant.allows(known) else None

    def _stt(self, name: str) -> str | None:
        calls = self._calls()
        if name in calls:
            return calls[name].stt
        route = self._routes.get(name)
        return name if route is not None and route.kind == "stt" else None

    def _hearing(self, grant: Grant) -> list[str]:
        return [name for name, route in self._routes.items() if route.kind == "stt" and grant.allows(name)]

    def _wake(self, call: CallRoute) -> None:
        """Raises NoTargetAwake if each mode of the call has a part that nobody can do."""
        omni = self._routes.get(call.s2s) if call.s2s is not None else None
        if omni is not None and omni.targets:
            return  # one mode is enough
        for name in (call.stt, call.llm, call.tts):
            self._check_awake(name)

    def _check_awake(self, name: str) -> None:
        route = self._routes.get(name)
        if route is not None and not route.targets:
            raise NoTargetAwake(name, [f"{target}: {why}" for target, why in route.asleep.items()])


async def call_of(registry: Registry, call_id: str, grant: Grant) -> Call:
    """One of that key's: another's call is none that there is, wherever it is held. Raises BadRequest and CallElsewhere."""
    call = registry.get(call_id)
    if call is not None and call.owner == grant.key_id:
        return call
    held = None if call is not None else await registry.elsewhere(call_id)
    if held is not None and held.owner == grant.key_id:
        raise CallElsewhere(held.replica, held.url)
    raise BadRequest("there is no such call, or it is over", "call_id", status=404)
