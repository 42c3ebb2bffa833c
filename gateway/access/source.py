"""Source: where the keys are kept, as the gateway follows them."""

from __future__ import annotations

from typing import Protocol

from gateway.access.key import Key
from gateway.contract.errors import ConfigError


class KeysAway(ConfigError):
    """They cannot be reached."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the keys in Redis cannot be reached: {why}")


class Source(Protocol):
    @property
    def lasting(self) -> bool:
        """Whether what was read stays good when it cannot be read again."""

    def first(self) -> list[Key] | None:
        """At the start; None where no key is configured. Raises ConfigError."""

    async def news(self) -> list[Key] | None:
        """All of them where they changed since the last time, else None. Raises ConfigError, KeysAway."""

    async def aclose(self) -> None: ...
