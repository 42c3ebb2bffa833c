"""A fake of Inworld: its bidirectional WebSocket of text to speech.

Evidence. From the source of LiveKit's plugin: path, `Basic` key, messages both ways, `contextClosed` after what was flushed, codes of gRPC
in `status`. From others' probes: a wrong key is told after the first message and then the socket closed with 1000, five contexts,
2000 characters, a RIFF header on each LINEAR16 chunk. Assumed here, and never seen on the wire: the form of errors of the connection,
statuses before the upgrade, that times of words count from the start of a context.

    python -m tests.fakes.inworld --port 9006       # then: inworld: {base_url: "ws://127.0.0.1:9006", key: any}
"""

from __future__ import annotations

import base64
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from gateway.contract.wav import wav_header
from tests.fakes.base import Behaviour, Dropped, Fake, Session, main, refusal
from tests.fakes.hearing import Said
from tests.fakes.mouths import Mouth

CONTEXTS = 5
_CODES = {"unauthorized": 16, "no-quota": 8, "concurrency": 8, "broken": 14, "bad-voice": 5}


class Inworld(Fake):
    """Inworld's voice:streamBidirectional."""

    def refuse(self, request: Request) -> Response | None:
        return refusal(429, b"", {"retry-after": "2"}) if self.behaviour.trouble == "rate-limited" else None

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        await _Mouth(self, connection, session, behaviour).run()


class _Mouth(Mouth):
    def __init__(self, fake: Inworld, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        super().__init__(fake, connection, session, behaviour)
        self._texts: dict[str, str] = {}
        self._rates: dict[str, int] = {}

    async def take(self, message: dict[str, Any]) -> None:
        context, trouble = str(message["contextId"]), self.how.trouble or ""
        key = self.session.headers.get("authorization", "")
        if not key.startswith("Basic "):
            trouble = "unauthorized"
        if trouble in _CODES:
            words = f"{'Quota exceeded' if trouble == 'no-quota' else 'It is so'}, {key}"
            status = {"code": _CODES[trouble], "message": words}
            if trouble != "unauthorized":
                return await self.say({"result": {"contextId": context, "status": status}})
            await self.say({"error": status})
            await self.connection.close(1000)
            raise Dropped
        if "create" in message:
            assert len(self._texts) < CONTEXTS
            self._texts[context] = ""
            self._rates[context] = message["create"]["audioConfig"]["sampleRateHertz"]
            await self.say({"result": {"contextId": context, "contextCreated": {}, "status": {"code": 0}}})
        elif "send_text" in message:
            assert len(message["send_text"]["text"]) <= 2000
            self._texts[context] += message["send_text"]["text"]
        elif "close_context" in message:
            self.speak(context, self._texts[context], self._rates[context])

    async def said(self, context: str, word: Said, pcm: bytes) -> None:
        data = wav_header(self._rates[context], len(pcm) // 2) + pcm
        times = {"words": [word.text], "wordStartTimeSeconds": [word.start], "wordEndTimeSeconds": [word.end]}
        chunk = {"audioContent": base64.b64encode(data).decode(), "timestampInfo": {"wordAlignment": times}}
        chunk["usage"] = {"processedCharactersCount": len(self._texts[context])}
        await self.say({"result": {"contextId": context, "audioChunk": chunk, "status": {"code": 0}}})

    async def over(self, context: str) -> None:
        del self._texts[context]
        await self.say({"result": {"contextId": context, "flushCompleted": {}}})
        await self.say({"result": {"contextId": context, "contextClosed": {}}})


if __name__ == "__main__":
    main(Inworld)
