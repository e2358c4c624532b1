"""A fake server with kamailio.cfg's own tables, and a worker on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.fake_kamailio import FakeKamailio
from tests.edge.rig import Rig

CONFIG = Path(__file__).resolve().parents[2] / "kamailio.cfg"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeKamailio]:
    """Return a server; an error in its log that no test took out, or a lock that is still held, fails the test."""
    found = FakeKamailio(CONFIG.read_text(), tmp_path / "dispatcher.list")
    yield found
    assert [] == found.errors()
    assert [] == found.htable.held()


@pytest.fixture
def rig(server: FakeKamailio) -> Rig:
    """Return a worker."""
    return Rig(server)
