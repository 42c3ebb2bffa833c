"""Offer: a caller's SDP, checked line by line before any ICE agent is made. Pure.

What is left of it is written anew from the attributes that are understood, with every limit kept, so that aiortc's parser
(which has no limits, and is quadratic in some attributes) sees neither surprises nor other people's addresses. The end of
candidates is not passed on: with those left out that we send nothing to, it would end ICE before the caller's own checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from gateway.contract.errors import BadRequest

MAX_BYTES = 256 * 1024
MAX_LINES = 2000
MAX_MEDIA = 16
MAX_CANDIDATES = 128
MAX_FORMATS = 128  # as many payload types as RTP has
MAX_SSRCS = 16

Admits = Callable[[str], bool]
"""Whether media may be sent to an address (`Reach.admits`)."""

_MEDIA = re.compile(r"(?a)m=(audio|video|application) (\d{1,5}) ([A-Z/]{1,40}) ([!-~]+(?: [!-~]+)*)")
_TOKEN = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]{1,16}")  # RFC 8866; as many bytes as a header extension holds
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_CANDIDATE = re.compile(
    r"(?a)[A-Za-z0-9+/]{1,32} (?P<component>\d{1,3}) (?P<transport>[A-Za-z]{2,8}) \d{1,10} (?P<address>[^ ]{1,255}) "
    r"(?P<port>\d{1,5}) typ (?P<type>[a-z]{2,8})(?: .{0,400})?"
)
_RTPMAP = re.compile(r"(?a)(\d{1,3}) ([A-Za-z0-9_.-]{1,32}/\d{1,6}(?:/\d{1,2})?)")
_FINGERPRINT = re.compile(r"(?i:(sha-256|sha-384|sha-512)) ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+)")
_DIGEST_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_EXTENSIONS = ("urn:ietf:params:rtp-hdrext:sdes:mid", "urn:ietf:params:rtp-hdrext:ssrc-audio-level")
_EXTENSION = re.compile(r"(?a)(\d{1,2})(?:/[a-z]+)? ([!-~]+)")
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


@dataclass(slots=True)
class Section:
    """One m-line and what is kept of its attributes."""

    kind: str
    line: str
    port: int
    formats: tuple[str, ...]
    mid: str = ""
    ufrag: str = ""
    password: str = ""
    setup: str = ""
    direction: str = "sendrecv"
    mux: bool = False
    bundle_only: bool = False
    fingerprints: list[str] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    codecs: dict[str, str] = field(default_factory=dict)
    ssrcs: int = 0
    sctp_port: int | None = None

    @property
    def refused(self) -> bool:
        return self.port == 0 and not self.bundle_only

    def written(self) -> Iterator[str]:
        yield self.line
        yield f"a=mid:{self.mid}"
        yield f"a={self.direction}"
        if self.mux:
            yield "a=rtcp:9 IN IP4 0.0.0.0"
            yield "a=rtcp-mux"
        yield from self.lines
        if self.sctp_port is not None:
            yield f"a=sctp-port:{self.sctp_port}"
        yield f"a=ice-ufrag:{self.ufrag}"
        yield f"a=ice-pwd:{self.password}"
        yield f"a=setup:{self.setup}"
        yield from (f"a=fingerprint:{each}" for each in self.fingerprints)
        yield from (f"a=candidate:{each}" for each in self.candidates)


@dataclass(frozen=True, slots=True)
class Offer:
    """`sdp`: what aiortc is given; `ufrag`: the caller's ICE user name; `mids`: of its m-lines, in order; `candidates`: kept."""

    sdp: str
    ufrag: str
    mids: tuple[str, ...]
    candidates: int


def read_offer(text: str, admits: Admits) -> Offer:
    """Raises BadRequest: 413 when too long, 400 with the reason otherwise."""
    lines = _lines(text)
    if not lines or not re.fullmatch(r"v=0\s*", lines[0]):
        _refuse("the body is not SDP: its first line must be v=0")
    if sum(line.startswith("m=") for line in lines) > MAX_MEDIA:
        _refuse(f"the offer has more than {MAX_MEDIA} m-lines")
    if sum(line.startswith("a=candidate:") for line in lines) > MAX_CANDIDATES:
        _refuse(f"the offer has more than {MAX_CANDIDATES} candidates")
    sections, groups, lite = _sections(lines, admits)
    _check(sections)
    bundle = _bundle(groups, sections)
    head = ["v=0", "o=- 0 0 IN IP4 0.0.0.0", "s=-", "t=0 0", *(["a=ice-lite"] if lite else [])]
    head += [f"a=group:BUNDLE {' '.join(bundle)}"] if bundle else []
    head += ["a=msid-semantic:WMS *"]
    written = [*head, *(line for section in sections for line in section.written())]
    return Offer(
        "\r\n".join(written) + "\r\n",
        sections[0].ufrag,
        tuple(section.mid for section in sections),
        sum(len(section.candidates) for section in sections),
    )


def read_fragment(text: str, offer: Offer, admits: Admits) -> list[tuple[str, str]]:
    """Candidates that came later (RFC 8840), each with its mid.

    Raises BadRequest: 413, 400, or 422 for the ICE restart that is not supported (RFC 9725, 4.3.3).
    """
    found: list[tuple[str, str]] = []
    mid = offer.mids[0]
    for line in _lines(text):
        name, _, value = line[2:].partition(":")
        if line.startswith("m=") or line == "":
            continue
        if not line.startswith("a="):
            _refuse("the body is no SDP fragment: every line must be m= or a=")
        match name:
            case "mid":
                mid = value if value in offer.mids else _refuse("the fragment has a mid that the offer has not")
            case "ice-ufrag" if value != offer.ufrag:
                raise BadRequest("ICE restarts are not supported: make a new call", "ice-ufrag", 422)
            case "candidate":
                found += [(mid, kept) for kept in _candidate(value, admits)]
    return found


def _refuse(why: str) -> NoReturn:
    raise BadRequest(why, "sdp")


def _lines(text: str) -> list[str]:
    if len(text) > MAX_BYTES:
        raise BadRequest(f"the SDP is larger than {MAX_BYTES} bytes", "sdp", 413)
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        _refuse(f"the SDP has more than {MAX_LINES} lines")
    return [line.strip() for line in lines]


def _sections(lines: list[str], admits: Admits) -> tuple[list[Section], list[str], bool]:
    """Session-level attributes stand for those an m-line does not give itself."""
    session = Section("session", "", 9, ())
    sections: list[Section] = []
    groups: list[str] = []
    lite = False
    for line in lines[1:]:
        if line.startswith("m="):
            sections.append(_section(line, session))
        elif line.startswith("a=group:BUNDLE"):
            groups.append(line.removeprefix("a=group:BUNDLE").strip())
        elif line == "a=ice-lite":
            lite = True
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            _attribute(sections[-1] if sections else session, name, value, admits)
    return sections, groups, lite


def _section(line: str, session: Section) -> Section:
    match = _MEDIA.fullmatch(line)
    if match is None:
        _refuse("the offer has an m-line that is not audio, video or application as WebRTC writes it")
    kind, port, profile, formats = match[1], int(match[2]), match[3], tuple(match[4].split(" "))
    if len(formats) > MAX_FORMATS or (kind != "application" and not all(_is_payload_type(each) for each in formats)):
        _refuse(f"the offer's m={kind} line has payload types that RTP has not")
    section = Section(kind, line, port, formats, ufrag=session.ufrag, password=session.password, setup=session.setup)
    section.direction, section.fingerprints = session.direction, list(session.fingerprints)
    if kind == "application":
        section.sctp_port = _sctp_port(profile, formats)
    elif "SAVP" not in profile:
        _refuse("media must be encrypted: the profile of an m-line is not UDP/TLS/RTP/SAVPF")
    return section


def _sctp_port(profile: str, formats: tuple[str, ...]) -> int:
    if profile.endswith("DTLS/SCTP") and profile != "DTLS/SCTP" and formats == ("webrtc-datachannel",):
        return 5000
    if profile == "DTLS/SCTP" and len(formats) == 1 and _is_port(formats[0]):
        return int(formats[0])
    _refuse("the offer's m=application line is not a WebRTC data channel's")


def _attribute(section: Section, name: str, value: str, admits: Admits) -> None:
    match name:
        case "mid":
            section.mid = value
        case "ice-ufrag":
            section.ufrag = value
        case "ice-pwd":
            section.password = value
        case "setup":
            section.setup = value
        case "fingerprint":
            section.fingerprints += _fingerprint(value)
        case "candidate":
            section.candidates += _candidate(value, admits)
        case "rtcp-mux":
            section.mux = True
        case "bundle-only":
            section.bundle_only = True
        case "sctp-port":
            section.sctp_port = int(value) if _is_port(value) else _refuse("the offer's sctp-port is no port")
        case _ if name in _DIRECTIONS:
            section.direction = name
        case _:
            section.lines += _kept(section, name, value)


def _kept(section: Section, name: str, value: str) -> Iterator[str]:
    """Attributes that pass as they came, if they are as they should be; anything else is left out."""
    line = f"a={name}:{value}"
    match name:
        case "rtpmap" if (found := _RTPMAP.fullmatch(value)) and found[1] in section.formats:
            if found[1] not in section.codecs:
                section.codecs[found[1]] = found[2]
                yield line
        case "ssrc" if re.fullmatch(r"(?a)\d{1,10} [a-z]+:[ -~]{1,200}", value) and section.ssrcs < MAX_SSRCS:
            section.ssrcs += 1
            yield line
        case "extmap" if (found := _EXTENSION.fullmatch(value)) and found[2] in _EXTENSIONS and 0 < int(found[1]) < 15:
            yield line
        case "msid" if re.fullmatch(r"[!-~]{1,100}( [!-~]{1,100})?", value):
            yield line
        case "max-message-size" if re.fullmatch(r"(?a)\d{1,12}", value):
            yield line


def _fingerprint(value: str) -> Iterator[str]:
    match = _FINGERPRINT.fullmatch(value)
    if match and len(match[2]) == 3 * _DIGEST_BYTES[match[1].lower()] - 1:
        yield f"{match[1].lower()} {match[2].upper()}"


def _candidate(value: str, admits: Admits) -> Iterator[str]:
    """Nothing for one that is left out: a name (mDNS), TCP, a port of none, or an address we send nothing to."""
    match = _CANDIDATE.fullmatch(value)
    if match is None:
        _refuse("the SDP has a candidate that is not as RFC 8839 writes it")
    usable = match["transport"].lower() == "udp" and match["component"] == "1" and _is_port(match["port"])
    if usable and match["type"] in ("host", "srflx", "relay") and admits(match["address"]):
        yield value


def _check(sections: list[Section]) -> None:
    audio = [section for section in sections if section.kind == "audio" and not section.refused]
    if not audio:
        _refuse("the offer has no audio: a call needs an m=audio line")
    if not any(codec.lower().startswith("opus/48000") for codec in audio[0].codecs.values()):
        _refuse("the offer's audio has no Opus")
    if sum(section.kind == "application" for section in sections) > 1:
        _refuse("the offer has more than one m=application line")
    if len({section.mid for section in sections}) < len(sections):
        _refuse("two m-lines of the offer have the same mid, or none")
    for section in sections:
        _check_transport(section)


def _check_transport(section: Section) -> None:
    if not _TOKEN.fullmatch(section.mid):
        _refuse("an m-line of the offer has no mid, or not one of 1 to 16 token characters")
    if not _UFRAG.fullmatch(section.ufrag) or not _PASSWORD.fullmatch(section.password):
        _refuse("an m-line of the offer has no ICE user name and password as RFC 8839 writes them")
    if not section.fingerprints:
        _refuse("an m-line of the offer has no fingerprint of SHA-256, 384 or 512")
    if section.setup not in ("actpass", "active", "passive"):
        _refuse("an m-line of the offer has no setup attribute of actpass, active or passive")
    if section.kind != "application" and not section.mux:
        _refuse("an m-line of the offer has no rtcp-mux")
    if section.kind != "application" and not section.codecs:
        _refuse(f"the offer's m={section.kind} line has no codec")


def _bundle(groups: list[str], sections: list[Section]) -> list[str]:
    if len(groups) > 1:
        _refuse("the offer has more than one BUNDLE group")
    mids = groups[0].split() if groups else []
    known = [section.mid for section in sections]
    if len(set(mids)) < len(mids) or any(mid not in known for mid in mids):
        _refuse("the offer's BUNDLE group names a mid twice, or one that no m-line has")
    return mids


def _is_payload_type(text: str) -> bool:
    # 72 to 76 would be taken for RTCP (RFC 5761).
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 128 and not 72 <= int(text) <= 76


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536
