"""Where a model's text is cut to be spoken."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.calls.sentences import Clauses, Cuts, speakable

PROSE = """Sure, I can help with that. Dr. Smith's office, at 3.5 Main St. in Springfield, opens at 9 a.m. on weekdays! \
It costs $1,250.75, e.g. for two visits. No. I mean yes: see No. 5 on the list.

1. First, call them.
2. Then wait… and wait.

J. R. Tolkien wrote "The Hobbit." He did. Is 10,000,000 a lot? नमस्ते। आप कैसे हैं? 你好。我很好！ https://example.com/a.b?c=d works."""


def cut(text: str, size: int = 1, cuts: Cuts | None = None) -> list[str]:
    """Fed in pieces of `size` characters."""
    clauses = Clauses(cuts)
    fed = [clause for at in range(0, len(text), size) for clause in clauses.feed(text[at : at + size])]
    return fed + clauses.flush()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 10_000])
def test_nothing_is_lost(size: int) -> None:
    assert "".join(cut(PROSE, size)) == PROSE


def test_where_it_is_cut_does_not_depend_on_how_it_comes() -> None:
    rng = random.Random(7)
    for _ in range(50):
        clauses, at, got = Clauses(), 0, list[str]()
        while at < len(PROSE):
            size = rng.randint(1, 9)
            got += clauses.feed(PROSE[at : at + size])
            at += size
        assert [clause.strip() for clause in got + clauses.flush()] == [clause.strip() for clause in cut(PROSE)]


def test_the_first_clause_comes_early_and_later_ones_whole() -> None:
    text = "Well, of course, I can. The weather today, as far as I know, is sunny and warm. Enjoy it."
    assert cut(text) == [
        "Well, of course, ",
        "I can. The weather today, as far as I know, is sunny and warm. ",
        "Enjoy it.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "It is 3.5 percent more than that",
        "Ask Dr. Who about the matter",
        "At 9 a.m. we start the whole thing",
        "Bring e.g. apples and i.e. fruit",
        "You owe 1,000,000 of them to me",
        "Write to a.b@example.com today please",
        "It was J. Smith who did it all",
        "See No. 5 or vol. 2 or p. 12 here",
    ],
)
def test_dots_and_commas_that_end_nothing(text: str) -> None:
    assert cut(text + ". And then.")[0].strip() == text + "."


def test_a_no_is_a_sentence_unless_a_number_follows() -> None:
    assert cut("No. That is wrong.")[0] == "No. "
    assert cut("No. 5 is alive.") == ["No. 5 is alive."]


def test_the_numbers_of_a_list_stay_with_their_lines() -> None:
    assert cut("1. Call them today.\n2. Then wait for the answer.\n")[:2] == [
        "1. Call them today.\n",
        "2. Then wait for the answer.\n",
    ]


def test_without_punctuation_a_clause_ends_at_a_word_never_in_a_number() -> None:
    words = " ".join(["word"] * 40) + " 1 000 000 " + " ".join(["more"] * 60)
    clauses = cut(words)
    assert len(clauses[0]) <= 81
    assert all(len(clause) <= 241 for clause in clauses)
    assert all(clause.endswith(" ") for clause in clauses[:-1])
    for most in range(8, 30):
        pieces = cut("pay them 1 000 000 000 euros", cuts=Cuts(first_most=most, most=most))
        assert not any(left.strip()[-1].isdigit() and right[0].isdigit() for left, right in pairwise(pieces))


def test_sentences_end_in_other_scripts_too() -> None:
    assert cut("नमस्ते। आप कैसे हैं?")[0] == "नमस्ते। "
    assert cut("你好。我很好！")[0] == "你好。"


def test_one_endless_word_is_still_flushed() -> None:
    assert cut("a" * 1000) == ["a" * 1000]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**Hello** _there_!", "Hello there!"),
        ("# Title\n", "Title"),
        ("- an item", "an item"),
        ("see [the page](https://x.test/y)", "see the page"),
        ("use `code` now", "use code now"),
        ("snake_case and 2*3 stay", "snake_case and 2*3 stay"),
        ("\U0001f600 nice \u2728", "nice"),
        ("---", ""),
        ("…", ""),
        ("  \n ", ""),
    ],
)
def test_what_a_voice_gets(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
