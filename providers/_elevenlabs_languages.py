"""The languages of ElevenLabs' models, as its documentation lists them (2026). Codes of ISO 639-1, or 639-3 where there is none."""

from __future__ import annotations

from providers._languages import plain

_THREE = (
    "afr amh ara hye asm ast aze bel ben bos bul mya yue cat ceb nya hrv ces dan nld eng est fil fin fra ful glg lug kat deu ell guj"
    " hau heb hin hun isl ibo ind gle ita jpn jav kea kan kaz khm kor kur kir lao lav lin lit luo ltz mkd msa mal mlt zho mri mar mon"
    " nep nso nor oci ori pus fas pol por pan ron rus srp sna snd slk slv som spa swa swe tam tgk tel tha tur ukr umb urd uzb vie cym"
    " wol xho zul"
)
_TWO = (
    "af am ar hy as ast az be bn bs bg my yue ca ceb ny hr cs da nl en et fil fi fr ff gl lg ka de el gu"
    " ha he hi hu is ig id ga it ja jv kea kn kk km ko ku ky lo lv ln lt luo lb mk ms ml mt zh mi mr mn"
    " ne nso no oc or ps fa pl pt pa ro ru sr sn sd sk sl so es sw sv ta tg te th tr uk umb ur uz vi cy"
    " wo xh zu"
)
_NAMES = dict(zip(_THREE.split(), _TWO.split(), strict=True))
_TWENTY_NINE = "ar bg cs da de el en es fi fil fr hi hr id it ja ko ms nl pl pt ro ru sk sv ta tr uk zh"
_MULTILINGUAL = frozenset(_TWENTY_NINE.split())
_ENGLISH = frozenset({"en"})

LANGUAGES = {
    "scribe": frozenset(_NAMES.values()),
    "eleven_multilingual": _MULTILINGUAL,
    "eleven_flash_v2_5": _MULTILINGUAL | {"hu", "no", "vi"},
    "eleven_turbo_v2_5": _MULTILINGUAL | {"hu", "no", "vi"},
    "eleven_flash_v2": _ENGLISH,
    "eleven_turbo_v2": _ENGLISH,
    "eleven_monolingual": _ENGLISH,
}
"""By the beginning of a model's name, the longest first; of others nothing is said: ElevenLabs decides."""
_SAME = {"nb": "no", "nn": "no", "tl": "fil", "iw": "he", "in": "id", "cmn": "zh"}


def code(language: str) -> str:
    """As ElevenLabs calls it: `hi` for hi-IN, and for the `hin` that it says itself."""
    short = plain(language, _SAME)
    return _NAMES.get(short, short)


def spoken(model: str) -> frozenset[str] | None:
    """What the model speaks or hears; None where nobody says."""
    names = sorted((name for name in LANGUAGES if model.startswith(name)), key=len)
    return LANGUAGES[names[-1]] if names else None
