"""Who deletes people's model keys when an operator removes a sandbox without the daemon."""

import aiohttp

from clawkakad.config import Place
from clawkakad.errors import UsageError
from clawkakad.registry import Registry, SandboxRow
from clawkakad.sandboxes.modelkeys import KeySource, ProvisionedKeys, SharedKey


def key_source(
    place: Place, row: SandboxRow, http: aiohttp.ClientSession, registry: Registry, instance: str
) -> KeySource:
    """Where the sandbox's key came from, if one was made. Raises UsageError where it could not be deleted."""
    if row.key_hash is None:
        return SharedKey(None)
    if place.openrouter_provisioning_key is None:
        raise UsageError("a model key was made for this sandbox: set OPENROUTER_PROVISIONING_KEY to have it deleted")
    return ProvisionedKeys(
        http,
        base_url=place.openrouter_base_url,
        provisioning_key=place.openrouter_provisioning_key.get_secret_value(),
        instance=instance,
        limit_usd=0,  # nothing is made here
        directory=place.state_dir / "keys",
        hashes=registry.sandboxes,
    )
