"""What AssemblyAI says when it fails -> ProviderError: an `Error` frame, then a close with the same code (its documentation). One code
means several things, so the words are looked at; they are never repeated."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Unauthorized, Unavailable

_BUSY = ("too many", "rate limit")
_MONEY = ("insufficient", "balance", "fund", "credit card", "paid-only", "billing")
_NOBODY = ("unauthorized", "not authorized", "authorization", "api key", "token")


def error_of(provider: str, code: object, words: object) -> ProviderError:
    """Of an Error frame or a close."""
    status = code if isinstance(code, int) else None
    told = "the connection was lost" if status is None and not words else f"closed with {status or 'an error'}"
    return _kind(status, str(words or "").lower())(told, provider, status)


def refusal(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError | None:
    """Of an upgrade: what an address asks for is the configuration's."""
    return Unavailable(str(status), provider, status) if status in (400, 422) else None


def _kind(code: int | None, words: str) -> type[ProviderError]:
    if code in (3009, 4029, 4102) or any(each in words for each in _BUSY):
        return RateLimited
    if code in (4002, 4003) or any(each in words for each in _MONEY):
        return OutOfQuota
    if code in (1008, 4001) or (code is None and any(each in words for each in _NOBODY)):
        return Unauthorized
    return Unavailable
