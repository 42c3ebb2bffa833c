"""What Whisper and its kin speak: their own names of languages, and the codes. Source: Whisper's tokenizer; OpenAI's list of those
that it recognises well enough to be named (word error rate below 50 %), which its voices follow too."""

from __future__ import annotations

_NAMES = """
english en, chinese zh, german de, spanish es, russian ru, korean ko, french fr, japanese ja, portuguese pt, turkish tr,
polish pl, catalan ca, dutch nl, arabic ar, swedish sv, italian it, indonesian id, hindi hi, finnish fi, vietnamese vi,
hebrew he, ukrainian uk, greek el, malay ms, czech cs, romanian ro, danish da, hungarian hu, tamil ta, norwegian no,
thai th, urdu ur, croatian hr, bulgarian bg, lithuanian lt, latin la, maori mi, malayalam ml, welsh cy, slovak sk,
telugu te, persian fa, latvian lv, bengali bn, serbian sr, azerbaijani az, slovenian sl, kannada kn, estonian et,
macedonian mk, breton br, basque eu, icelandic is, armenian hy, nepali ne, mongolian mn, bosnian bs, kazakh kk,
albanian sq, swahili sw, galician gl, marathi mr, punjabi pa, sinhala si, khmer km, shona sn, yoruba yo, somali so,
afrikaans af, occitan oc, georgian ka, belarusian be, tajik tg, sindhi sd, gujarati gu, amharic am, yiddish yi, lao lo,
uzbek uz, faroese fo, haitian creole ht, pashto ps, turkmen tk, nynorsk nn, maltese mt, sanskrit sa, luxembourgish lb,
myanmar my, tibetan bo, tagalog tl, malagasy mg, assamese as, tatar tt, hawaiian haw, lingala ln, hausa ha, bashkir ba,
javanese jw, sundanese su, cantonese yue
"""
_WELL = """
af ar hy az be bs bg ca zh hr cs da nl en et fi fr gl de el he hi hu is id it ja kn kk ko lv lt mk ms mr mi ne no fa pl
pt ro ru sr sk sl es sw sv tl ta th tr uk ur vi cy
"""
WHISPER: dict[str, str] = {name: code for name, _, code in (each.strip().rpartition(" ") for each in _NAMES.split(","))}
NAMED = frozenset(_WELL.split())

_SAME = {"fil": "tl", "nb": "no", "jv": "jw", "iw": "he", "in": "id"}


def code(tag: str) -> str:
    """Of a BCP 47 tag, what Whisper calls its language."""
    base = tag.lower().replace("_", "-").partition("-")[0]
    return _SAME.get(base, base)


def told(language: object) -> str | None:
    """The code of a language as an answer names it, by name or by code."""
    if not isinstance(language, str) or not language:
        return None
    return WHISPER.get(language.lower(), language if len(language) <= 3 else None)
