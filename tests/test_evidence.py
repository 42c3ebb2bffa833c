"""What docs/providers.md says of the evidence for a speech provider is what its tests are marked with."""

from __future__ import annotations

from tests.evidence import EVIDENCE, WORDS
from tests.needs import ROOT


def test_the_table_says_on_what_the_tests_rest() -> None:
    page = (ROOT / "docs" / "providers.md").read_text()
    table = page.partition("## Speech at a glance")[2].partition("\n## ")[0]
    rows = {cells[1].strip(" `"): cells for line in table.splitlines() if len(cells := line.split("|")) == 8}
    for name, evidence in EVIDENCE.items():
        told = rows[name][4]
        assert {word for key, word in WORDS.items() if word in told} == {WORDS[key] for key in evidence}, name
        assert ("runs in the suite" in rows[name][5]) == (ROOT / "tests" / "fakes" / f"test_{name}_sdk.py").exists()
