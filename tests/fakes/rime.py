"""A fake of Rime: its JSON WebSocket (ws3).

Evidence. From the sources of other clients (pipecat, LiveKit) and Rime's documentation: path, query, bearer key, messages both ways, a
context's id on all that comes, `done`, times of words that begin anew with each message. Assumed here, and never seen on the
wire: statuses before the upgrade, that `done` comes once for each flush, that `clear` is not answered.

    python -m tests.fakes.rime --port 9005       # then: rime: {base_url: "ws://127.0.0.1:9005", key: any}
"""

from __future__ import annotations

import base64
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.fakes.base import Behaviour, Fake, Session, main, refusal
from tests.fakes.hearing import Said
from tests.fakes.mouths import Mouth

_BEFORE = {"unauthorized": 401, "no-quota": 402, "rate-limited": 429, "broken": 503, "bad-voice": 400}


class Rime(Fake):
    """Rime's ws3."""

    def refuse(self, request: Request) -> Response | None:
        trouble = self.behaviour.trouble or ""
        if not request.headers.get("authorization", "").startswith("Bearer "):
            trouble = "unauthorized"
        if trouble not in _BEFORE:
            return None
        return refusal(_BEFORE[trouble], b"", {"retry-after": "2"} if trouble == "rate-limited" else None)

    async def talk(self, connection: ServerConnection, session: Session, behaviour: Behaviour) -> None:
        await _Mouth(self, connection, session, behaviour).run()


class _Mouth(Mouth):
    _text, _context = "", ""

    async def take(self, message: dict[str, Any]) -> None:
        if self.how.trouble == "error":
            return await self.say({"type": "error", "message": f"It is so, {self.session.headers['authorization']}"})
        match message.get("operation"):
            case "flush":
                self.speak(self._context, self._text, int(self.session.query["samplingRate"]))
                self._text = ""
            case "clear":
                self.clear()
                self._text = ""
            case None:
                self._text += message["text"]
                self._context = str(message.get("contextId"))

    async def said(self, context: str, word: Said, pcm: bytes) -> None:
        chunk = {"type": "chunk", "data": base64.b64encode(pcm).decode(), "contextId": context}
        await self.say(chunk)
        letters = word.text.rstrip(".,!?")
        marks = word.text[len(letters) :]
        length = len(pcm) / 2 / int(self.session.query["samplingRate"])
        words = [letters, marks] if marks else [letters]
        ends = [length] * len(words)
        times = {"words": words, "start": [0.0, length][: len(words)], "end": ends}
        await self.say({"type": "timestamps", "word_timestamps": times, "contextId": context})

    async def over(self, context: str) -> None:
        await self.say({"type": "done", "contextId": context})


if __name__ == "__main__":
    main(Rime)
