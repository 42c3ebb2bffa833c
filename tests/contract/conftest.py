"""Sockets behave differently on uvloop, which serves, and on asyncio's own loop, which tests; the client is tested on both."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

BOTH = {"test_client.py", "test_http1.py", "test_sockets.py"}
Loops = dict[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    plain: Loops = {"asyncio": asyncio.new_event_loop}
    return {**plain, "uvloop": uvloop.new_event_loop} if item.path.name in BOTH else plain
