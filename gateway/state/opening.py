"""open_store: the store that REDIS_URL names."""

from __future__ import annotations

from gateway.state.memory import MemoryStore
from gateway.state.store import Store


def open_store(url: str | None) -> Store:
    """Without a URL, memory. Nothing is connected before it runs. Raises ConfigError, which never shows the URL."""
    if not url:
        return MemoryStore()
    from gateway.state.redis_store import RedisStore  # 0.3 s of imports, for those who asked for it

    return RedisStore(url)
