"""Warming: models that answer their first request slowly are warmed in the background, while the gateway already serves."""

from __future__ import annotations

import logging

from gateway.contract.errors import GatewayError
from gateway.contract.provider import Warmable
from gateway.loader import Loaded
from gateway.routing.route import Target

log = logging.getLogger(__name__)


class Warming:
    """`states`, by target: "warming", "warm" or "failed: why"."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.states: dict[str, str] = {str(t): "warming" for _, t, _ in self._targets()}

    def _targets(self) -> list[tuple[str, Target, Warmable]]:
        found: dict[str, tuple[str, Target, Warmable]] = {}
        for route in self._loaded.routes.values():
            for target in (*route.targets, *route.shadows):
                provider = self._loaded.providers[target.provider]
                if isinstance(provider, Warmable):
                    found.setdefault(str(target), (route.name, target, provider))
        return list(found.values())

    async def run(self) -> None:
        """One after the other: models that load together on a small machine are ready together, late."""
        for route, target, provider in self._targets():
            prompts = tuple(c.instructions for c in self._loaded.calls.values() if c.llm == route and c.instructions)
            try:
                await provider.warm(target.model, prompts)
            except GatewayError as error:
                self.states[str(target)] = f"failed: {error}"
                log.warning("%s did not warm: %s", target, type(error).__name__)
            else:
                self.states[str(target)] = "warm"
                log.info("%s is warm", target)
