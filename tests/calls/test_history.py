"""What a conversation remembers, and how much of it a model is shown."""

from __future__ import annotations

from gateway.calls.history import History, Item


def conversation(turns: int, budget: int = 1500, words: int = 20) -> History:
    history = History(budget)
    for turn in range(turns):
        history.add(Item(f"u{turn}", "user", f"question {turn} " + "word " * words, "audio"))
        history.add(Item(f"a{turn}", "assistant", f"answer {turn} " + "word " * words, "audio"))
    return history


def test_an_interrupted_answer_is_what_was_heard() -> None:
    history = History()
    history.add(Item("u", "user", "tell me"))
    history.add(Item("a", "assistant", None, "audio", "in_progress"))
    history.said("a", "Once upon a time there was a king.")
    history.said("a", "Once upon", interrupted=True)
    assert [(each.role, each.text, each.interrupted) for each in history.spoken()] == [
        ("user", "tell me", False),
        ("assistant", "Once upon", True),
    ]
    item = history.get("a")
    assert item is not None
    assert item.status == "incomplete"


def test_what_is_not_yet_known_or_was_nothing_is_not_shown_to_a_model() -> None:
    history = History()
    history.add(Item("a", "user", None, "audio"))
    history.add(Item("b", "assistant", ""))
    assert history.messages("") == ()
    assert not history.unanswered


def test_pieces_of_one_side_are_one_message() -> None:
    history = History()
    for number, text in enumerate(["book a table", "for two", "please"]):
        history.add(Item(str(number), "user", text))
    assert [message.text for message in history.messages("Be brief.")] == ["Be brief.", "book a table for two please"]
    assert history.unanswered


def test_the_oldest_turns_stay_out_beyond_the_budget_and_the_newest_never() -> None:
    history = conversation(40, budget=300)
    shown = history.messages("Be brief.")
    assert shown[0].role == "system"
    assert shown[-1].text.startswith("answer 39")
    assert sum(4 + len(message.text) // 4 for message in shown) <= 300
    huge = History(50)
    huge.add(Item("u", "user", "word " * 1000))
    assert len(huge.messages("Be brief.")) == 2


def test_requests_keep_the_same_beginning_for_many_turns() -> None:
    history = History(600)
    beginnings = []
    for turn in range(60):
        history.add(Item(f"u{turn}", "user", f"question {turn} and some more words"))
        beginnings.append(history.messages("Be brief.")[1].text)
        history.add(Item(f"a{turn}", "assistant", f"answer {turn} and some more words"))
    assert len(set(beginnings)) < 12, "prompt caches live on it"
    assert beginnings[-1] != beginnings[0]


def test_deleting_old_items_does_not_bring_back_what_was_left_out() -> None:
    history = conversation(40, budget=300)
    before = history.messages("")[0].text
    history.delete("u0")
    history.delete("a0")
    after = history.messages("")
    assert after[-1].text.startswith("answer 39")
    assert sum(4 + len(message.text) // 4 for message in after) <= 300
    assert before


def test_items_know_their_order() -> None:
    history = History(most=3)
    assert history.add(Item("a", "user", "1")) is None
    assert history.add(Item("c", "user", "3")) == "a"
    assert history.add(Item("b", "user", "2"), after="a") == "a"
    assert history.before("c") == "b"
    assert history.before("gone") is None
    assert history.add(Item("d", "user", "4")) == "c"
    assert history.get("a") is None, "only so many are kept"
    assert history.add(Item("e", "user", "0"), after="root") is None
    assert history.said("gone", "x") is None
    assert not history.delete("gone")


def test_a_client_cannot_fill_the_memory() -> None:
    history = History(most_text=1000)
    for number in range(50):
        history.add(Item(str(number), "user", "x" * 300))
    assert len(history) == 3
    history.add(Item("huge", "user", "x" * 5000))
    assert len(history) == 1
