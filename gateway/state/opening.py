"""open_store: the store that REDIS_URL names."""

from __future__ import annotations

import logging

from gateway.contract.errors import ConfigError
from gateway.state.memory import MemoryStore
from gateway.state.store import Store
from gateway.state.wire import is_url

log = logging.getLogger(__name__)


def open_store(url: str | None, reached_at: str | None = None) -> Store:
    """Without a URL, memory. `reached_at`: this replica's own URL, for the others; they can do without it.

    Nothing is connected before it runs. Raises ConfigError, which never shows a URL.
    """
    reached_at = (reached_at or "").rstrip("/") or None
    if reached_at is not None and not is_url(reached_at):
        raise ConfigError("TRUNKLINE_URL is not one that others can use: http:// or https://, a host, and a port")
    if not url:
        return MemoryStore()
    from gateway.state.redis_store import RedisStore  # 0.3 s of imports, for those who asked for it

    store = RedisStore(url, reached_at=reached_at)
    log.info("this is replica %s", store.name)
    return store
