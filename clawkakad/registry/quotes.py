"""What a message said, whoever wrote it: people reply to their own messages and to ours."""

import json
from collections.abc import Sequence

from clawkakad.model import UserId, Wamid
from clawkakad.registry.transaction import Transaction


def said(tx: Transaction, user_id: UserId, wamids: Sequence[Wamid]) -> dict[Wamid, str]:
    """The texts of those of these messages that we know, to or from this one person."""
    if not wamids:
        return {}
    rows = tx.all(
        "SELECT wamid, text FROM inbox WHERE user_id = :user AND wamid IN (SELECT value FROM json_each(:wamids))"
        " UNION ALL"
        " SELECT wamid, text FROM outbox WHERE user_id = :user AND wamid IN (SELECT value FROM json_each(:wamids))",
        {"user": user_id, "wamids": json.dumps(list(wamids))},
    )
    return {Wamid(row["wamid"]): row["text"] for row in rows if row["text"]}
