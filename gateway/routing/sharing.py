"""Sharing: what the boards know, as replicas tell it to each other. Pure; the clock is handed in.

A key of sums is the route, the target, and "whole" for answers that are not streamed: three words between SEPARATORs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from gateway.routing.board import Board
from gateway.routing.boards import Boards
from gateway.routing.route import Route
from gateway.state.store import SEPARATOR, Ejection, Replica, Sums

WHOLE = "whole"


def replica_of(boards: Boards, routes: Mapping[str, Route], now: Callable[[], float]) -> Replica:
    """`routes`: as they are now, whenever that is; nothing else is said or heard of."""
    sharing = _Sharing(boards, routes, now)
    return Replica(sharing.export, sharing.merge, sharing.forget, sharing.ejected)


class _Sharing:
    def __init__(self, boards: Boards, routes: Mapping[str, Route], now: Callable[[], float]) -> None:
        self._boards, self._routes, self._now = boards, routes, now

    def export(self) -> Sums:
        now, said = self._now(), {}
        for route in self._routes.values():
            for way, board in self._ways(route, now):
                for target, sums in board.export(now).items():
                    said[f"{route.name}{SEPARATOR}{target}{SEPARATOR}{way}"] = sums
        return said

    def merge(self, replica: str, sums: Sums, age: float) -> None:
        """Raises ValueError for what no replica of this release says, once all else is merged."""
        now, wrong = self._now(), None
        for key, row in sums.items():
            try:
                name, target, way = key.split(SEPARATOR)
                route = self._routes.get(name)
                if route is not None and any(str(each) == target for each in route.targets):
                    self._boards.of(route, way == WHOLE, now).merge(replica, target, row, age, now)
            except ValueError as error:
                wrong = error
        if wrong is not None:
            raise wrong

    def forget(self, replica: str) -> None:
        for _, board in self._boards.all():
            board.forget(replica)

    def ejected(self, ejection: Ejection) -> None:
        """However it was asked there, it is out for every way of asking here."""
        route, now = self._routes.get(ejection.route), self._now()
        if route is not None and any(str(each) == ejection.target for each in route.targets):
            for _, board in self._ways(route, now):
                board.eject(ejection.target, now, ejection.until)

    def _ways(self, route: Route, now: float) -> Iterator[tuple[str, Board]]:
        if route.kind != "embed":
            yield "", self._boards.of(route, False, now)
        if route.kind in ("llm", "embed"):
            yield WHOLE, self._boards.of(route, True, now)
