"""Runs the terminal chat of `clawkakad try` against an echo, for a test that sits at the other end of the terminal."""

import asyncio

from clawkakad.cli.conversation import chat
from clawkakad.simulator.server import Secrets, running_simulator
from tests.simulator.daemon import echo, join, running_daemon


async def main() -> None:
    secrets = Secrets.made()
    async with running_daemon(secrets) as daemon, running_simulator(secrets) as simulator:
        join(daemon, simulator)
        daemon.on_text = echo
        await chat(simulator.exchange, simulator.exchange.add_person("Robin", "+1 555 010 0123"))
    print("the end")


asyncio.run(main())
