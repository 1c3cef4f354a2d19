"""When the outbox is looked at again."""

from datetime import timedelta

import pytest

from clawkakad.delivery.lookout import LOOK_AGAIN_S, Lookout
from clawkakad.delivery.pausing import Pausing
from clawkakad.model import UserId
from clawkakad.registry import Registry, times, users
from tests.conftest import Clock


@pytest.mark.parametrize(("due_in_s", "again_s"), [(0.4, 0.4), (60.0, LOOK_AGAIN_S)])
async def test_the_next_look_is_when_the_next_message_is_due(
    registry: Registry, robin: UserId, clock: Clock, due_in_s: float, again_s: float
) -> None:
    await registry.db.write(lambda tx: users.touch(tx, robin, clock()))
    await registry.outbox.add(robin, ["hello"], origin="reply", source="s")
    due_at = times.to_text(clock() + timedelta(seconds=due_in_s))
    await registry.db.execute("UPDATE outbox SET not_before = :at", {"at": due_at})
    lookout = Lookout(registry, clock, Pausing())

    found = await lookout.look((), 100.0)

    assert found.queued == []
    assert lookout.wait_s(100.0) == pytest.approx(again_s)
    clock.advance(seconds=again_s)
    assert bool((await lookout.look((), 100.0 + again_s)).queued) is (due_in_s == again_s)
