"""What goes wrong upstream becomes the right error, and nothing else is harmed."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from gateway.contract.errors import (
    ContextTooLong,
    OutOfQuota,
    ProviderError,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
)
from gateway.contract.events import Finished, ProviderEvent
from tests.conformance.entries import both_ways, played
from tests.conformance.stages import KEY, Asked, Entry, Scene, ask, content, everything

FAULTS: dict[Scene, type[ProviderError]] = {
    "unauthorized": Unauthorized,
    "rate-limited": RateLimited,
    "no-quota": OutOfQuota,
    "too-long": ContextTooLong,
    "refuses": Refused,
    "server-error": Unavailable,
    "refused-connection": Unavailable,
    "hangs-up-first": Unavailable,
    "hangs-up-mid": Unavailable,
    "garbage": Unavailable,
    "echoes-key": Refused,
}
faults = pytest.mark.parametrize(("entry", "scene"), played(*FAULTS))


async def failing(asked: Asked) -> tuple[list[ProviderEvent], ProviderError]:
    asked.inputs.close()
    events: list[ProviderEvent] = []
    async with aclosing(asked.events):
        try:
            async for event in asked.events:
                events.append(event)  # noqa: PERF401 - what came before the error counts
        except ProviderError as error:
            with pytest.raises(StopAsyncIteration):
                await anext(asked.events)
            return events, error
    raise AssertionError(f"it did not fail, but gave {events}")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(("entry", "scene", "stream"), both_ways(played(*FAULTS)))
async def test_a_fault_is_the_right_error(entry: Entry, scene: Scene, stream: bool) -> None:
    async with entry.stage() as stage:
        stage.play(scene)
        events, error = await failing(ask(entry, stage, stream))
        await stage.until_free()
    assert type(error) is FAULTS[scene]
    assert error.provider == "acme"
    assert not any(isinstance(event, Finished) for event in events)
    assert any(content(event) for event in events) <= (scene == "hangs-up-mid")
    assert error.retry_after == (2.0 if scene == "rate-limited" else None)
    assert bool(error.detail) == (scene in ("refuses", "too-long", "echoes-key"))


@faults
async def test_the_next_request_is_not_harmed(entry: Entry, scene: Scene) -> None:
    if scene == "refused-connection":
        return  # nobody is there any more
    async with entry.stage() as stage:
        stage.play(scene)
        await failing(ask(entry, stage))
        stage.play("answers")
        assert isinstance((await everything(ask(entry, stage)))[-1], Finished)


@pytest.mark.parametrize(("entry", "scene"), played(*FAULTS, "answers"))
async def test_no_key_is_in_errors_events_or_logs(entry: Entry, scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[object] = []
    async with entry.stage() as stage:
        stage.play(scene)
        if scene == "answers":
            told += await everything(ask(entry, stage))
        else:
            events, error = await failing(ask(entry, stage))
            told += [*events, *((str(each), repr(each), vars(each)) for each in chain(error))]
            told += traceback.format_exception(error)
    records = [(record.getMessage(), record.args, record.exc_text) for record in caplog.records]
    for word in (KEY.reveal(), "canary"):
        assert word not in f"{told} {records} {caplog.text}"


@pytest.mark.parametrize(("entry", "scene"), played("refuses", "too-long"))
async def test_why_it_was_refused_is_for_the_caller_and_not_for_logs(
    entry: Entry, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with entry.stage() as stage:
        stage.play(scene)
        _, error = await failing(ask(entry, stage))
    assert error.detail
    assert error.detail not in f"{error} {error!r} {caplog.text} {traceback.format_exception(error)}"
