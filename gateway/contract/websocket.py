"""WebSockets to providers: a thin shell around the websockets library, with errors of ours and a close that never lingers.

    socket = await open_socket("acme", "wss://...", headers={...})      # raises ProviderError
    try:
        await socket.send("...")                                        # waits while the upstream takes nothing
        while (frame := await socket.next()) is not None: ...           # str or bytes; None once it is closed
    finally:
        await socket.aclose()

Messages are bounded, pings find a peer that is gone, proxies come from the environment, redirects are not followed (a key goes
only where the configuration says), nothing is compressed (audio does not shrink, and small frames only cost time).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as _connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, ProxyError
from websockets.protocol import State
from websockets.typing import Subprotocol

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Refused, Unauthorized, Unavailable

Frame = str | bytes

CONNECT_TIMEOUT = 5.0
"""Seconds, for resolving, connecting, TLS and the upgrade together."""
LARGEST = 16 << 20
"""Bytes of one message."""
HELD = 64
"""Messages that wait to be read before the upstream is held back."""
PING, PONG = 20.0, 15.0
"""Seconds between pings, and until a peer that does not answer one counts as gone."""
FAREWELL = 0.5
"""Seconds for the closing handshake; then the connection is dropped."""
_QUIET = logging.getLogger("gateway.contract.websocket.frames")
# The library logs frames, and frames hold words and keys. Not `disabled`: a server that sets up its logging enables all again.
_QUIET.setLevel(logging.CRITICAL + 1)

Judge = Callable[[int, Mapping[str, str], bytes], ProviderError | None]
"""What a status, headers (names in lower case) and body of a refused upgrade mean; None for what the status alone says."""


class _Connection(ClientConnection):
    def write(self, frame: Frame) -> bool:
        """Sends it at once; False where it has to wait, or cannot be sent, which `send` sees to. That takes three times the CPU,
        and of a stream of speech there are 50 frames a second."""
        protocol = self.protocol
        if self.paused or self.send_in_progress is not None or protocol.state is not State.OPEN:
            return False
        if isinstance(frame, str):
            protocol.send_text(frame.encode())
        else:
            protocol.send_binary(frame)
        self.send_data()
        return True


class Socket:
    """`code`, `reason`: of its close, once `next` returned None; code None where the connection was lost without one."""

    def __init__(self, connection: _Connection, provider: str) -> None:
        self._connection, self._provider = connection, provider
        self.code: int | None = None
        self.reason = ""

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    @property
    def closed(self) -> bool:
        return self._connection.close_code is not None or self._connection.transport.is_closing()

    def put(self, frame: Frame) -> bool:
        """Sends it without waiting; False if `send` has to."""
        return self._connection.write(frame)

    async def send(self, frame: Frame) -> None:
        """Raises Unavailable once it is closed; `next` tells why."""
        if self.put(frame):
            return
        try:
            await self._connection.send(frame)
        except ConnectionClosed:
            raise Unavailable("its socket is closed", self._provider) from None

    async def next(self) -> Frame | None:
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                self.code, self.reason = closed.rcvd.code, closed.rcvd.reason
            return None

    def abort(self) -> None:
        """At once, without a word."""
        self._connection.transport.abort()

    async def aclose(self, code: int = 1000) -> None:
        """Within half a second, whatever the upstream does. Again is a no-op."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await self._connection.close(code)
        finally:
            self._connection.transport.abort()


async def open_socket(
    provider: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    trust: ssl.SSLContext | None = None,
    judge: Judge | None = None,
) -> Socket:
    """Connected and upgraded; whether the provider is well is told by its first message, not by this. Raises ProviderError."""
    given: dict[str, Any] = {} if trust is None else {"ssl": trust}
    refused: InvalidStatus | None = None
    try:
        connection = await _connect(
            url,
            additional_headers=dict(headers or {}),
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            user_agent_header="trunkline",
            compression=None,
            open_timeout=CONNECT_TIMEOUT,
            close_timeout=FAREWELL,
            ping_interval=PING,
            ping_timeout=PONG,
            max_size=LARGEST,
            max_queue=HELD,
            logger=_QUIET,
            create_connection=_Connection,
            **given,
        )
    except InvalidStatus as status:
        refused = status  # raised outside of here: an upstream may repeat a key in it, and errors keep their context
    except TimeoutError:
        raise Unavailable(f"no socket within {CONNECT_TIMEOUT:g} s", provider) from None
    except InvalidURI:
        raise Unavailable("its address is no ws:// or wss:// address", provider) from None
    except ssl.SSLError as error:
        raise Unavailable(f"no TLS connection ({error.reason or 'failed'})", provider) from None
    except (OSError, ProxyError):
        raise Unavailable("no connection: refused, unreachable or no such host", provider) from None
    except (InvalidHandshake, ConnectionClosed, EOFError) as error:
        raise Unavailable(f"no upgrade to a socket ({type(error).__name__})", provider) from None
    if refused is not None:
        raise _judged(provider, refused, judge)
    assert isinstance(connection, _Connection)  # as it was told to make
    return Socket(connection, provider)


def _judged(provider: str, refused: InvalidStatus, judge: Judge | None) -> ProviderError:
    response = refused.response
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    if judge is not None:
        error = judge(response.status_code, headers, bytes(response.body or b""))
        if error is not None:
            return error
    return of_status(provider, response.status_code, headers.get("retry-after"))


def of_status(provider: str, status: int, retry_after: str | None = None) -> ProviderError:
    """What an HTTP status means where nothing more is said."""
    told = str(status)
    match status:
        case 401 | 403:
            return Unauthorized(told, provider, status)
        case 402:
            return OutOfQuota(told, provider, status)
        case 429:
            wait = float(retry_after) if retry_after and retry_after.isdigit() else None
            return RateLimited(told, provider, status, wait)
        case 400 | 422:
            return Refused(told, provider, status)
    return Unavailable(told, provider, status)
