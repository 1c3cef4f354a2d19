"""Which person does the operator mean?"""

import re

from clawkakad.errors import UsageError
from clawkakad.log import mask, mask_name
from clawkakad.model import SandboxId
from clawkakad.registry import Registry, UserRow


async def find_user(registry: Registry, text: str) -> UserRow:
    """By user id, sandbox id, phone number in any human format, business-scoped id, or name.

    Raises UsageError where nobody is meant, or more than one person.
    """
    wanted = text.strip()
    digits = re.sub(r"[^\d]", "", wanted)
    found = [user for user in await registry.users.all() if await _is(registry, user, wanted, digits)]
    if not found:
        raise UsageError(f"nobody here is called {wanted!r}: `clawkakad users` lists everybody")
    if len(found) > 1:
        raise UsageError(f"{wanted!r} fits {', '.join(user.id for user in found)}: use the id")
    return found[0]


async def _is(registry: Registry, user: UserRow, wanted: str, digits: str) -> bool:
    values = {value for _, value in user.identifiers}
    if wanted == user.id or wanted in values or (len(digits) > 6 and digits in values):
        return True
    if user.profile.name is not None and user.profile.name.casefold() == wanted.casefold():
        return True
    sandbox = await registry.sandboxes.of_user(user.id)
    return sandbox is not None and sandbox.id == wanted


def label(user: UserRow) -> str:
    """The person as lists show them: name, else masked number."""
    if user.profile.name:
        return mask_name(user.profile.name)
    return mask(user.identifiers[-1][1] if user.identifiers else user.id)


async def owners(registry: Registry) -> dict[SandboxId, str]:
    """Whose each sandbox is: their label, and its id."""
    people = {user.id: label(user) for user in await registry.users.all()}
    sandboxes = await registry.sandboxes.all()
    return {row.id: f"{people[row.user_id]} ({row.id})" for row in sandboxes if row.user_id in people}
