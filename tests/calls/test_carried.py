"""Audio inside events: no sample is lost on the way in, whatever it is cut into, and commands find all that was sent before them."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from gateway.calls.carried import PIECE, CarriedIn, CarriedOut
from gateway.calls.session import G711, Pcm
from gateway.contract import g711
from gateway.contract.audio import Audio
from tests.calls.scene import Scene, tone
from tests.virtual_time import virtual

RATE = 24_000


def appended(carried: CarriedIn, data: bytes, cut: int) -> bytes:
    pieces: list[Audio] = []
    for at in range(0, len(data), cut):
        pieces += carried.feed(base64.b64encode(data[at : at + cut]).decode(), Pcm())
    pieces += carried.finish()
    assert all(len(piece.pcm) == PIECE for piece in pieces)
    return b"".join(piece.pcm for piece in pieces)


@pytest.mark.parametrize("cut", [1, 7, 2_401, 100_000])
def test_what_is_appended_is_the_same_however_it_is_cut(cut: int) -> None:
    wave = (8_000 * np.sin(np.arange(RATE // 4) / 12)).astype(np.int16).tobytes()
    whole = appended(CarriedIn(), wave, len(wave))
    assert abs(len(whole) // 2 - RATE // 6) <= 320  # filled up to a piece
    assert appended(CarriedIn(), wave, cut) == whole


def test_g711_is_what_the_standard_says() -> None:
    samples = np.array([0, 1000, -1000, 32_000, -32_000], np.int16).tobytes()
    assert g711.encode(samples, "ulaw") == bytes([0xFF, 0xCE, 0x4E, 0x80, 0x00])
    assert g711.encode(samples, "alaw") == bytes([0xD5, 0xFA, 0x7A, 0xAA, 0x2A])


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_every_byte_of_g711_comes_back(law: g711.Law) -> None:
    every = bytes(range(256))
    assert g711.encode(g711.decode(every, law), law).replace(b"\x7f", b"\xff") == every.replace(b"\x7f", b"\xff")


def test_an_answer_in_g711_has_as_much_sound_as_was_made() -> None:
    out = CarriedOut(G711(type="audio/pcmu"))
    deltas = [delta for _ in range(50) for delta in out.feed(tone(0.02, RATE, 3000))] + list(out.finish())
    assert abs(sum(len(base64.b64decode(delta)) for delta in deltas) - g711.RATE) <= 8


@virtual
async def test_a_commit_that_comes_with_the_audio_finds_all_of_it_heard() -> None:
    audio = {"input": {"turn_detection": None}}
    async with Scene(["hello"], ["Hi."], session={"type": "realtime", "audio": audio}, carried=True) as scene:
        scene.say(type="input_audio_buffer.append", audio=base64.b64encode(tone(0.5, RATE, 3000)).decode())
        scene.say(type="input_audio_buffer.commit")
        scene.say(type="input_audio_buffer.append", audio=base64.b64encode(tone(0.4, RATE, 3000)).decode())
        scene.say(type="input_audio_buffer.clear")
        scene.say(type="response.create")
        await scene.until("response.done")
        assert abs(scene.ear.heard[0] - 0.5) < 0.021
        assert scene.of("error") == []
        assert len(scene.of("input_audio_buffer.cleared")) == 1
