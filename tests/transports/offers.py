"""Offers as real clients write them, and bad ones made of them."""

from __future__ import annotations

_FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["9E", "91", "29", "28"] * 8)
_CANDIDATE = "a=candidate:168541706 1 udp 2122194687 {} 54447 typ host generation 0 network-id 3 network-cost 50"

CHROMIUM = f"""\
v=0
o=- 4815891670506623752 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS f2c0e180-2200-414c-acb7-b7564039a57c
m=audio 54447 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 127.0.0.1
a=rtcp:9 IN IP4 0.0.0.0
{_CANDIDATE.format("127.0.0.1")}
{_CANDIDATE.format("192.168.1.5")}
{_CANDIDATE.format("1b7e9c2a-91c4-4f00-8b11-5e0a3cf8e7a2.local")}
a=candidate:1959025810 1 tcp 1518214911 127.0.0.1 9 typ host tcptype active generation 0 network-id 3
a=ice-ufrag:PmjS
a=ice-pwd:lGGpugVkS025jvJ4JaLqLh4R
a=ice-options:trickle
{_FINGERPRINT}
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendrecv
a=msid:f2c0e180-2200-414c-acb7-b7564039a57c 5769049a-11f8-4b82-b4f8-9e1b2607422d
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=ssrc:2420030439 cname:5r7IuXLGE0zRI07U
a=ssrc:2420030439 msid:f2c0e180-2200-414c-acb7-b7564039a57c 5769049a-11f8-4b82-b4f8-9e1b2607422d
m=application 43394 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 127.0.0.1
{_CANDIDATE.format("127.0.0.1")}
a=ice-ufrag:PmjS
a=ice-pwd:lGGpugVkS025jvJ4JaLqLh4R
a=ice-options:trickle
{_FINGERPRINT}
a=setup:actpass
a=mid:1
a=sctp-port:5000
a=max-message-size:262144
"""
"""Chromium 156: everything under each m-line."""

FIREFOX = f"""\
v=0
o=mozilla...THIS_IS_SDPARTA-99.0 4420317021358541012 0 IN IP4 0.0.0.0
s=-
t=0 0
a=sendrecv
{_FINGERPRINT}
a=group:BUNDLE 0 1
a=ice-options:trickle
a=msid-semantic:WMS *
m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101
c=IN IP4 0.0.0.0
a=sendrecv
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1
a=fmtp:101 0-15
a=ice-pwd:0b66f472495ef0ccac7bda653ab6be49
a=ice-ufrag:c4f5c4e2
a=mid:0
a=msid:{{a1c0f4c9-5d0b-4a79-9a6d-f8c34b1f1e0a}} {{5c4d6a3e-8a4c-4d8f-90a3-7c0a0f0d2a11}}
a=rtcp-mux
a=rtpmap:109 opus/48000/2
a=rtpmap:9 G722/8000/1
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=setup:actpass
a=ssrc:3735928559 cname:{{6e1b7a04-3c50-4b31-9d1b-2f1d1e8a7a50}}
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=sendrecv
a=ice-pwd:0b66f472495ef0ccac7bda653ab6be49
a=ice-ufrag:c4f5c4e2
a=mid:1
a=setup:actpass
a=sctp-port:5000
a=max-message-size:1073741823
"""
"""Firefox, which trickles: the fingerprint is the session's, fmtp comes before rtpmap."""

OPENAI = f"""\
v=0
o=- 3993840254 3993840254 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0 1
a=msid-semantic:WMS *
m=audio 51603 UDP/TLS/RTP/SAVPF 96 9 0 8
c=IN IP4 0.0.0.0
a=sendrecv
a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:2 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=mid:0
a=msid:993a573d-865c-4f89-b4d6-bf0023b36333 28299f45-cf21-4e7d-8945-3fc2846d1979
a=rtcp:9 IN IP4 0.0.0.0
a=rtcp-mux
a=ssrc:596951577 cname:54390b83-64d1-4178-a0ef-a2cafdb3f3a7
a=rtpmap:96 opus/48000/2
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=ice-ufrag:YnNx
a=ice-pwd:jIsRuXZmV9Yq00qk4a33Xe
{_FINGERPRINT}
a=setup:actpass
m=application 34376 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:1
a=sctp-port:5000
a=max-message-size:65536
a=ice-ufrag:YnNx
a=ice-pwd:jIsRuXZmV9Yq00qk4a33Xe
{_FINGERPRINT}
a=setup:actpass
"""
"""As recorded at OpenAI's: aiortc, without candidates."""

GOOD = (CHROMIUM, FIREFOX, OPENAI)


def without(prefix: str, offer: str = CHROMIUM) -> str:
    return "\n".join(line for line in offer.split("\n") if not line.startswith(prefix))


def with_lines(*lines: str, offer: str = CHROMIUM) -> str:
    """More attributes, at the end."""
    return offer + "\n".join(lines) + "\n"


BAD = {
    "nothing": "",
    "no SDP": "hello",
    "JSON": '{"type": "offer", "sdp": ""}',
    "HTML": "<!doctype html><html></html>",
    "only the first line": "v=0\r\n",
    "another version": CHROMIUM.replace("v=0", "v=1"),
    "no m-line": CHROMIUM.partition("m=audio")[0],
    "without audio": CHROMIUM.partition("m=audio")[0].replace("BUNDLE 0 1", "BUNDLE 1")
    + "m=application"
    + CHROMIUM.partition("m=application")[2],
    "audio refused": CHROMIUM.replace("m=audio 54447", "m=audio 0"),
    "no Opus": without("a=rtpmap:111"),
    "no payload type": CHROMIUM.replace(" 111 63 9 0 8 13 110 126", ""),
    "a payload type of 300": CHROMIUM.replace("111 63", "300 63"),
    "a payload type RTCP has": CHROMIUM.replace("111 63", "111 72"),
    "no fingerprint": without("a=fingerprint"),
    "sha-1 only": CHROMIUM.replace(_FINGERPRINT, "a=fingerprint:sha-1 " + ":".join(["AB"] * 20)),
    "half a fingerprint": CHROMIUM.replace(_FINGERPRINT, _FINGERPRINT[:60]),
    "no ICE user name": without("a=ice-ufrag"),
    "a short ICE password": CHROMIUM.replace("lGGpugVkS025jvJ4JaLqLh4R", "short"),
    "no setup": without("a=setup"),
    "setup holdconn": CHROMIUM.replace("setup:actpass", "setup:holdconn"),
    "no rtcp-mux": without("a=rtcp-mux"),
    "no mid": without("a=mid"),
    "the same mid twice": CHROMIUM.replace("a=mid:1", "a=mid:0"),
    "a mid of 100 characters": CHROMIUM.replace("a=mid:1", "a=mid:" + "x" * 100).replace("BUNDLE 0 1", "BUNDLE 0"),
    "BUNDLE of an unknown mid": CHROMIUM.replace("BUNDLE 0 1", "BUNDLE 0 7"),
    "BUNDLE of one mid twice": CHROMIUM.replace("BUNDLE 0 1", "BUNDLE 0 0"),
    "two BUNDLE groups": CHROMIUM.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0\na=group:BUNDLE 1"),
    "plain RTP": CHROMIUM.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
    "SCTP of no data channel": CHROMIUM.replace("webrtc-datachannel", "something-else"),
    "an sctp-port of 0": CHROMIUM.replace("sctp-port:5000", "sctp-port:0"),
    "two application lines": CHROMIUM
    + "m=application"
    + CHROMIUM.partition("m=application")[2].replace("mid:1", "mid:2"),
    "an unknown kind of media": CHROMIUM.replace("m=application", "m=message"),
    "a broken candidate": with_lines("a=candidate:1 1 udp"),
    "1000 m-lines": CHROMIUM + "m=audio 9 UDP/TLS/RTP/SAVPF 111\n" * 1000,
    "1000 candidates": with_lines(*[_CANDIDATE.format("127.0.0.1")] * 1000),
    "3000 lines": with_lines(*["a=x"] * 3000),
}
"""Offers to be answered 400, by what is wrong with them."""

TOO_LARGE = {
    "1 MB": with_lines("a=x:" + "x" * (1 << 20)),
    "10,000 candidates": with_lines(*[_CANDIDATE.format("127.0.0.1")] * 10_000),
}
"""413."""
