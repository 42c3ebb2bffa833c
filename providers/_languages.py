"""What languages are called: BCP 47 here, a code without its region (and sometimes an older one) by those that hear."""

from __future__ import annotations

from collections.abc import Iterable

_WHISPER = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka"
    " kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv"
    " sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh"
)
WHISPER = frozenset(_WHISPER.split())
"""What Whisper, and models that follow it, were made for."""
_SAME = {"nb": "no", "fil": "tl", "iw": "he", "in": "id", "cmn": "zh", "jv": "jw"}


def plain(language: str, same: dict[str, str] | None = None) -> str:
    """`es` for es-MX. `same`: codes that are called otherwise; Whisper's by default."""
    code = language.replace("_", "-").partition("-")[0].lower()
    return (_SAME if same is None else same).get(code, code)


def lacking(language: str, known: Iterable[str], who: str = "it") -> str:
    """Why it cannot hear or speak that. `who`: a model, where it depends on that."""
    return f"{who} does not know the language {language!r}; it knows {', '.join(sorted(known))}"
