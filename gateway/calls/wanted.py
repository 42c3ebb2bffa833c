"""Wanted: what the session asks of a cascade's ears, in their own terms. Pure."""

from __future__ import annotations

from dataclasses import replace

from gateway.calls.leg import Line
from gateway.calls.session import SemanticVad, ServerVad, TurnDetection
from gateway.calls.transport import MIC_RATE
from gateway.calls.turns import TurnRules
from gateway.contract.requests import TranscribeRequest
from gateway.routing.route import CallRoute


def heard_by(line: Line, route: CallRoute) -> tuple[str, TranscribeRequest]:
    """The stt route, and what is asked of it. In a session of nothing else, the client says more of what it is to hear; in one that
    answers, a language that nobody of the route hears is no reason to hear nothing."""
    wanted = line.session.settings.audio.input.transcription
    usual = TranscribeRequest(MIC_RATE, route.language)
    if wanted is None:
        return route.stt, usual
    language = wanted.language or route.language
    if line.session.answers:
        hinted = replace(usual, language=language)
        return route.stt, hinted if line.engine.fits(route.stt, hinted) else usual
    stt = (line.names.stt(wanted.model) if wanted.model else None) or route.stt
    return stt, TranscribeRequest(MIC_RATE, language, wanted.prompt, keywords=tuple(wanted.keywords or ()))


_PATIENCE = {"low": 2.0, "medium": 1.0, "auto": 1.0, "high": 0.6}
"""Of `semantic_vad`, by eagerness: what the time-out is multiplied with."""


def rules_of(detection: TurnDetection | None, rules: TurnRules) -> TurnRules:
    """The call's rules as the session wants them."""
    match detection:
        case ServerVad():
            silence = detection.silence_duration_ms / 1000
            speech = detection.threshold
            return replace(
                rules,
                speech=speech,
                silence=min(rules.silence, max(0.01, speech - 0.15)),
                prefix=detection.prefix_padding_ms / 1000,
                ask_after=min(rules.ask_after, silence),
                patience=silence,
            )
        case SemanticVad():
            return replace(rules, patience=rules.patience * _PATIENCE[detection.eagerness])
        case None:
            return replace(rules, patience=rules.prefix)
