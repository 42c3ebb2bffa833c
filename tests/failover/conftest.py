"""The faulty upstreams: a process that all tests here may share."""

from collections.abc import Generator

import pytest

from tests.failover.process import running
from tests.failover.rows import Ran, chosen, run


@pytest.fixture(scope="session")
def upstreams() -> Generator[str]:
    """Its address."""
    with running() as origin:
        yield origin


@pytest.fixture(scope="session")
def ran(request: pytest.FixtureRequest, upstreams: str) -> Ran:
    """The results of all rows that were selected."""
    return run(chosen(request.session.items), upstreams)
