"""`clawkakad restore --user`: one person's records come into a registry whose ids are not those of the backup."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from clawkakad.model import UserId
from tests.backups.test_backup import ANN, BOB, OLD, remind, say
from tests.backups.world import Installation, installation

LATER = "2999-01-01T00:00:00.000Z"


def send_for(host: Installation, user: str, source: str) -> None:
    host.write(
        "INSERT INTO outbox (key, source, origin, user_id, text, state, not_before, created_at, changed_at)"
        f" VALUES (?1, ?1, 'notice', ?2, ?1, 'read', '{OLD}', '{OLD}', '{OLD}')",
        *(source, user),
    )


async def due(host: Installation, user: UserId, text: str, *, fire: bool) -> None:
    """A reminder is set, if it is not yet, and fired or not, as the daemon does."""
    async with host.registry() as registry:
        due_at = datetime.now(UTC) - timedelta(seconds=1)
        made, _ = await registry.reminders.add(user, key=text, due_at=due_at, wall="now", zone="UTC", text=text)
        if fire:
            assert await registry.reminders.fire(made, f"⏰ {text}")


async def test_after_one_person_came_back_everybodys_reminders_are_sent(home: Installation, tmp_path: Path) -> None:
    bob, _ = await home.person(BOB)
    ann, _ = await home.person(ANN)
    for number in range(4):
        remind(home, bob, f"bob {number}", LATER)
    await due(home, ann, "dentist", fire=True)  # the fifth
    await home.ok("backup", tmp_path / "b.tar")
    async with installation("ba9876543210") as away:
        dora, _ = await away.person("4915100000009")
        for number in range(3):
            remind(away, dora, f"dora {number}", LATER)
        await away.ok("restore", tmp_path / "b.tar", "--user", ann, "--yes")  # it is the fourth there
        await due(away, dora, "pills", fire=True)  # and this one the fifth

        assert [("⏰ pills", "queued")] == away.rows(f"SELECT text, state FROM outbox WHERE user_id = '{dora}'")
        assert [("reminder:4#0",)] == away.rows(f"SELECT source FROM outbox WHERE user_id = '{ann}'")


async def test_what_a_message_is_for_is_found_again_under_its_new_id(home: Installation, tmp_path: Path) -> None:
    bob, _ = await home.person(BOB)
    ann, _ = await home.person(ANN)
    say(home, bob, "first")
    say(home, ann, "second")
    for source in ("inbox:2#0", "still:2#0", "waking:2#1", "inbox:77#0", "run:r#0"):
        send_for(home, ann, source)
    await home.ok("backup", tmp_path / "b.tar")
    async with installation("ba9876543210") as away:
        for _ in range(2):
            await away.ok("restore", tmp_path / "b.tar", "--user", ann, "--yes")

            sources = [source for (source,) in away.rows("SELECT source FROM outbox ORDER BY id")]
            assert ["inbox:1#0", "still:1#0", "waking:1#1", "restored:inbox:77#0", "run:r#0"] == sources


async def test_a_reminder_that_fired_since_the_backup_is_not_told_again(home: Installation, tmp_path: Path) -> None:
    bob, _ = await home.person(BOB)
    ann, _ = await home.person(ANN)
    remind(home, bob, "bob", LATER)
    await due(home, ann, "pills", fire=False)
    await home.ok("backup", tmp_path / "b.tar")
    await due(home, ann, "pills", fire=True)
    await home.ok("restore", tmp_path / "b.tar", "--user", ann, "--yes")

    assert [("⏰ pills", "queued")] == home.rows("SELECT text, state FROM outbox")
    async with installation("ba9876543210") as away:
        for _ in range(2):
            await away.ok("restore", tmp_path / "b.tar", "--user", ann, "--yes")
            assert [("⏰ pills", "held")] == away.rows("SELECT text, state FROM outbox")
