"""Those that only hear, each with its fake, and what its upstream says when it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.contract.errors import OutOfQuota, ProviderError, RateLimited, Unauthorized, Unavailable
from gateway.contract.provider import Settings, SpeechToText
from providers import assemblyai, gladia, speechmatics
from tests.fakes.assemblyai import AssemblyAI
from tests.fakes.base import Behaviour, Fake
from tests.fakes.gladia import Gladia
from tests.fakes.routes import closing, settings
from tests.fakes.speechmatics import Speechmatics


@dataclass(frozen=True, slots=True)
class Ear:
    """`troubles`: of the fake, and what each becomes; `key`: the header of its sockets that shows it, and how; `cap`: the constant
    that says how old a session gets."""

    name: str
    build: Callable[[Settings], SpeechToText]
    fake: type[Fake]
    model: str
    key: tuple[str, str] | None
    troubles: Mapping[str, type[ProviderError]]
    cap: str | None = None

    def __str__(self) -> str:
        return self.name

    @asynccontextmanager
    async def open(
        self, behaviour: Behaviour | None = None, **options: object
    ) -> AsyncIterator[tuple[SpeechToText, Fake]]:
        """The provider, at its fake."""
        fake = self.fake(behaviour)
        async with fake.running() as url:
            async with closing(self.build(settings(url, **options))) as provider:
                yield provider, fake
            await fake.until_left()


EARS = [
    Ear(
        "assemblyai",
        assemblyai.Provider,
        AssemblyAI,
        "universal-streaming-english",
        ("authorization", "{}"),
        {
            "unauthorized": Unauthorized,
            "no-quota": OutOfQuota,
            "rate-limited": RateLimited,
            "concurrency": RateLimited,
            "concurrency-3009": RateLimited,
            "broken": Unavailable,
            "bad-model": Unavailable,
        },
        "providers.assemblyai.CAP",
    ),
    Ear(
        "speechmatics",
        speechmatics.Provider,
        Speechmatics,
        "enhanced",
        ("authorization", "Bearer {}"),
        {
            "unauthorized": Unauthorized,
            "not-allowed": Unauthorized,
            "no-quota": OutOfQuota,
            "rate-limited": RateLimited,
            "concurrency": RateLimited,
            "silent-close": RateLimited,
            "bad-model": Unavailable,
            "job": Unavailable,
            "broken": Unavailable,
        },
        "providers.speechmatics.CAP",
    ),
    Ear(
        "gladia",
        gladia.Provider,
        Gladia,
        "solaria-1",
        None,
        {
            "unauthorized": Unauthorized,
            "forbidden": Unauthorized,
            "no-quota": OutOfQuota,
            "no-credits": OutOfQuota,
            "rate-limited": RateLimited,
            "concurrency": RateLimited,
            "bad-model": Unavailable,
            "broken": Unavailable,
        },
    ),
]
