"""The faulty upstreams: a process that all tests here may share."""

from collections.abc import Generator, Iterator, Mapping, Sequence

import pytest

from tests.failover.process import running
from tests.failover.rows import Case, Ran, Result, chosen, run


@pytest.fixture(scope="session")
def upstreams() -> Generator[str]:
    """Its address."""
    with running() as origin:
        yield origin


class _Runs(Mapping[tuple[str, str, bool], Result]):
    """The results of all rows that were selected. Those of a family run together when the first of them is asked for."""

    def __init__(self, cases: Sequence[Case], origin: str) -> None:
        self._cases, self._origin = cases, origin
        self._ran: Ran = {}

    def __getitem__(self, key: tuple[str, str, bool]) -> Result:
        if key not in self._ran:
            self._ran |= run([case for case in self._cases if case.family == key[1]], self._origin)
        return self._ran[key]

    def __iter__(self) -> Iterator[tuple[str, str, bool]]:
        return iter([(case.row.name, case.family, case.stream) for case in self._cases])

    def __len__(self) -> int:
        return len(self._cases)


@pytest.fixture(scope="session")
def ran(request: pytest.FixtureRequest, upstreams: str) -> Mapping[tuple[str, str, bool], Result]:
    return _Runs(chosen(request.session.items), upstreams)
