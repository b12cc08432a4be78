"""Each kind of component, from a plugin outside of the repository, through all that a run does."""

import pytest

from tests.extending.conftest import KINDS, UPDATES, updates

each_kind = pytest.mark.parametrize("kind", list(KINDS))


@each_kind
def test_trains_20_updates_though_killed(kind, ways):
    way = ways(kind)
    assert way.killed.exit_codes == [-9], way.killed.output
    assert 5 <= way.at_the_kill < UPDATES
    assert way.resumed.exit_codes == [0], way.resumed.output
    assert updates(way) == UPDATES
