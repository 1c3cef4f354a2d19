"""Spares: rows of the table `sandboxes` that are nobody's yet, and how somebody comes to own one.

Functions inside a transaction: a claim and the row that it gives away are one commit, so nobody gets another's.
"""

from datetime import datetime

from clawkakad.model import SandboxId, UserId
from clawkakad.registry import ids, times
from clawkakad.registry.transaction import Transaction


def add(tx: Transaction, *, most: int, now: datetime) -> SandboxId | None:
    """One more spare; None where there are so many already."""
    sandbox_id = ids.new_sandbox_id()
    added = tx.execute(
        "INSERT INTO sandboxes (id, state, reason, created_at, changed_at) SELECT :id, 'absent', 'a spare', :now, :now"
        " WHERE (SELECT count(*) FROM sandboxes WHERE user_id IS NULL AND remove_wanted = 0) < :most",
        {"id": sandbox_id, "most": most, "now": times.to_text(now)},
    )
    return sandbox_id if added else None


def claim(tx: Transaction, user_id: UserId, now: datetime) -> bool:
    """Give a spare to a person who has no sandbox: one that dozes, else one that is on its way. False: there is none.

    The instant of its last change is the claim's: nobody has to sleep soon because their sandbox has dozed for long.
    """
    return 1 == tx.execute(
        "UPDATE sandboxes SET user_id = :user, claimed = 1, changed_at = :now WHERE id ="
        " (SELECT id FROM sandboxes WHERE user_id IS NULL AND remove_wanted = 0"
        "  AND state IN ('dozing', 'ready', 'starting', 'creating') ORDER BY state <> 'dozing', created_at LIMIT 1)"
        " AND NOT EXISTS (SELECT 1 FROM sandboxes WHERE user_id = :user)",
        {"user": user_id, "now": times.to_text(now)},
    )


def give_up(tx: Transaction, sandbox_id: SandboxId) -> bool:
    """Ask for the removal of a spare. False where it is somebody's by now."""
    return 1 == tx.execute(
        "UPDATE sandboxes SET remove_wanted = 1 WHERE id = :id AND user_id IS NULL", {"id": sandbox_id}
    )


def begin_rehearsal(tx: Transaction, sandbox_id: SandboxId) -> bool:
    """Its session will hold a rehearsal. False where it is somebody's, or holds an earlier one."""
    return 1 == tx.execute(
        "UPDATE sandboxes SET rehearsing = 1 WHERE id = :id AND user_id IS NULL AND rehearsing = 0", {"id": sandbox_id}
    )


def introduced(tx: Transaction, user_id: UserId) -> None:
    """Their sandbox has been told whose it is (see `briefing`), and has answered."""
    tx.execute("UPDATE sandboxes SET claimed = 0 WHERE user_id = :user", {"user": user_id})
