"""The chat page in a real browser."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from clawkakad.simulator.people import State
from clawkakad.simulator.server import running_simulator
from tests.simulator.conftest import Pair
from tests.simulator.daemon import Daemon, echo, join
from tests.support import SCALE, eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

PHONE, DESKTOP = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=800)
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PICTURES = os.environ.get("CLAWKAKA_TEST_PICTURES")
"""A directory for a picture of each page, if one wants to look at them."""

expect.set_options(timeout=5000 * SCALE)


@pytest.fixture(scope="module")
def chromium() -> Iterator[str]:
    """One browser for all tests: its address. Each test has a profile of its own in it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path is not None, "Chromium is not installed: apt-get install chromium"
    with tempfile.TemporaryDirectory(prefix="ck-chromium-", ignore_cleanup_errors=True) as profile:
        command = [path, *ARGUMENTS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield f"http://127.0.0.1:{_port(Path(profile) / 'DevToolsActivePort')}"
        finally:
            process.terminate()
            process.wait(30)


def _port(path: Path) -> int:
    """The port that the browser has chosen, once it says so."""
    deadline = time.monotonic() + 20 * SCALE
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().strip():
            return int(path.read_text().splitlines()[0])
        time.sleep(0.05)
    raise AssertionError("Chromium does not start")


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        connected = await playwright.chromium.connect_over_cdp(chromium)
        yield connected
        await connected.close()


@asynccontextmanager
async def shown(browser: Browser, url: str, name: str, **options: Any) -> AsyncIterator[Page]:
    """The page at a phone's size, unless said otherwise; anything that it complains of fails the test."""
    context = await browser.new_context(**{"viewport": PHONE, **options})
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    await page.goto(url)
    yield page
    if PICTURES:
        await page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))
    await context.close()
    assert [text for text in complaints if "WebSocket" not in text] == []


async def write(page: Page, text: str) -> None:
    await page.get_by_label("Message", exact=True).fill(text)
    await page.get_by_role("button", name="Send").click()


async def test_one_writes_and_reads_the_answer(pair: Pair, browser: Browser) -> None:
    pair.daemon.on_text = echo
    async with shown(browser, pair.simulator.url, "answer") as page:
        await write(page, "Uber to office 280")

        await expect(page.locator(".bubble.person .body")).to_have_text("Uber to office 280")
        await expect(page.locator("#presence")).to_have_text("typing…")
        await expect(page.locator(".bubble.assistant .body")).to_have_text("You said: Uber to office 280")
        await expect(page.locator("#presence")).to_have_text("online")
        await expect(page.locator(".dots")).to_have_count(0)
        await eventually(lambda: "read" in [s["status"] for s in pair.daemon.statuses])


async def test_ticks_change_from_one_to_two_to_blue(pair: Pair, browser: Browser) -> None:
    taken = asyncio.Event()
    pair.daemon.before_answer = taken.wait
    async with shown(browser, pair.simulator.url, "ticks") as page:
        await write(page, "hi")
        tick = page.locator(".bubble.person .ticks")
        await expect(tick).to_have_attribute("aria-label", "sent")
        taken.set()
        await expect(tick).to_have_attribute("aria-label", "delivered")
        await pair.daemon.read(pair.last("hi").id)
        await expect(tick).to_have_attribute("aria-label", "read")


async def test_the_clock_shows_while_there_is_no_connection_and_nothing_is_lost(
    pair: Pair, browser: Browser, tmp_path: Path
) -> None:
    secrets = pair.simulator.secrets
    async with running_simulator(secrets, directory=tmp_path) as first:
        first.exchange.add_person("Mika", "+49 1512 3456789")
        port = int(first.url.rpartition(":")[2])
        context = await browser.new_context(viewport=PHONE)
        page = await context.new_page()
        await page.goto(first.url)
        await expect(page.locator("#connection")).to_be_hidden()
    await expect(page.locator("#connection")).to_have_text("Connection lost. Trying again…")
    await write(page, "are you there?")
    tick = page.locator(".bubble.person .ticks")
    await expect(tick).to_have_attribute("aria-label", "not sent yet")

    async with running_simulator(secrets, directory=tmp_path, port=port) as second:
        join(pair.daemon, second)
        await expect(tick).to_have_attribute("aria-label", "delivered")
        await expect(page.locator(".bubble.person")).to_have_count(1)
        assert pair.daemon.texts == ["are you there?"]
        await context.close()


async def test_text_that_looks_like_a_program_is_shown_as_text(pair: Pair, browser: Browser) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> javascript:alert(1)"
    async with shown(browser, pair.simulator.url, "evil") as page:
        await write(page, evil)
        await expect(page.locator(".bubble.person .body")).to_have_text(evil)
        await pair.daemon.send("+15550100123", f"*{evil}* `{evil}` > {evil}")
        await expect(page.locator(".bubble.assistant")).to_have_count(1)
        exchange = pair.simulator.exchange
        exchange.add_person("<b onmouseover=alert(1)>Eve</b>", "+44 7700 900123")

        await expect(page.locator("#log img, #log script, #log b, #people b")).to_have_count(0)
        assert "owned" not in await page.title()
        assert await page.locator("#log a").count() == 0


FORMATTED = """*bold* _italic_ ~gone~ `code` *_both_*
2 * 3 * 4 = 24, snake_case_name, a*b*c
- one
- *two*
1. first
2. second
> said before
```
let x = "*not bold*";
```
See https://example.invalid/a_b_c?x=1. (Or http://example.invalid/p(q))"""


async def test_formatting_is_whatsapps(pair: Pair, browser: Browser) -> None:
    pair.simulator.exchange.write(pair.robin, "hi")
    await eventually(lambda: pair.daemon.texts)
    async with shown(browser, pair.simulator.url, "formatting") as page:
        await pair.daemon.send("+15550100123", FORMATTED)
        body = page.locator(".bubble.assistant .body")
        await expect(body).to_be_visible()

        assert await body.locator("strong").all_inner_texts() == ["bold", "both", "two"]
        assert await body.locator("em").all_inner_texts() == ["italic", "both"]
        assert await body.locator("s").all_inner_texts() == ["gone"]
        assert await body.locator("ul li").all_inner_texts() == ["one", "two"]
        assert await body.locator("ol li").all_inner_texts() == ["first", "second"]
        assert await body.locator("blockquote").all_inner_texts() == ["said before"]
        assert await body.locator("pre").all_inner_texts() == ['let x = "*not bold*";']
        assert "2 * 3 * 4 = 24, snake_case_name, a*b*c" in await body.inner_text()
        links = [await a.get_attribute("href") for a in await body.locator("a").all()]
        assert links == ["https://example.invalid/a_b_c?x=1", "http://example.invalid/p(q)"]
        assert await body.locator("a").first.get_attribute("rel") == "noopener noreferrer nofollow"


async def test_several_people_have_chats_of_their_own(pair: Pair, browser: Browser) -> None:
    pair.daemon.on_text = echo
    async with shown(browser, pair.simulator.url, "people", viewport=DESKTOP) as page:
        await page.get_by_role("button", name="Add a person").click()
        await page.get_by_label("Name").fill("Mika")
        await page.get_by_label("Phone number").fill("call me")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("country code")
        await page.get_by_label("Phone number").fill("+49 1512 3456789")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.locator("#holder")).to_have_text("as Mika")

        await write(page, "hallo")
        await expect(page.locator(".bubble.assistant .body")).to_have_text("You said: hallo")
        await page.locator(".row", has_text="Robin").click()
        await expect(page.locator(".bubble")).to_have_count(0)
        await pair.daemon.send("+4915123456789", "Still there?")
        row = page.locator(".row", has_text="Mika")
        await expect(row.locator(".badge")).to_have_text("1")
        assert pair.last("Still there?").state is not State.READ
        await row.click()
        await expect(row.locator(".badge")).to_have_count(0)
        await eventually(lambda: pair.last("Still there?").state is State.READ)


async def test_one_can_write_while_the_assistant_is_at_it(pair: Pair, browser: Browser) -> None:
    pair.daemon.on_text = echo
    async with shown(browser, pair.simulator.url, "meanwhile") as page:
        for text in ("one", "two", "three"):
            await write(page, text)

        await expect(page.locator(".bubble.assistant")).to_have_count(3)
        assert pair.daemon.texts == ["one", "two", "three"]


async def test_enter_sends_and_shift_enter_begins_a_line(pair: Pair, browser: Browser) -> None:
    async with shown(browser, pair.simulator.url, "keys") as page:
        text = page.get_by_label("Message", exact=True)
        await text.click()
        await page.keyboard.type("one")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("two")
        await page.keyboard.press("Enter")

        await expect(text).to_have_value("")
        await eventually(lambda: pair.daemon.texts == ["one\ntwo"])
        await page.keyboard.press("Enter")
        await expect(page.locator(".bubble")).to_have_count(1)


async def test_an_emoji_is_no_way_beyond_the_longest_message(pair: Pair, browser: Browser) -> None:
    async with shown(browser, pair.simulator.url, "longest") as page:
        text = page.get_by_label("Message", exact=True)
        await text.fill("x" * 4094)
        await page.locator("#smile").click()
        await page.locator("#emoji button").first.click()
        await page.locator("#emoji button").first.click()
        await expect(text).to_have_value("x" * 4094 + "😀")

        await page.get_by_role("button", name="Send").click()

        await eventually(lambda: pair.daemon.texts == ["x" * 4094 + "😀"])


async def test_who_is_gone_after_a_restart_has_no_unread_messages(pair: Pair, browser: Browser) -> None:
    async with running_simulator(pair.simulator.secrets) as first:
        join(pair.daemon, first)
        first.exchange.add_person("Mika", "+49 1512 3456789")
        bo = first.exchange.add_person("Bo", "+44 7700 900123")
        first.exchange.write(bo, "hi")
        port = int(first.url.rpartition(":")[2])
        context = await browser.new_context(viewport=DESKTOP)
        page = await context.new_page()
        await page.goto(f"{first.url}/?as=4915123456789")
        await expect(page.locator("#holder")).to_have_text("as Mika")
        await pair.daemon.send("+447700900123", "for Bo")
        await expect(page).to_have_title("(1) clawkakad · simulated chat")
    async with running_simulator(pair.simulator.secrets, port=port) as second:
        second.exchange.add_person("Mika", "+49 1512 3456789")

        await expect(page.locator("#connection")).to_be_hidden()

        await expect(page).to_have_title("clawkakad · simulated chat")
        await context.close()


async def test_it_works_by_touch_alone(pair: Pair, browser: Browser) -> None:
    pair.daemon.on_text = echo
    async with shown(browser, pair.simulator.url, "touch", has_touch=True, is_mobile=True) as page:
        await page.get_by_role("button", name="Uber to office 280").tap()
        await expect(page.locator(".bubble.assistant")).to_have_count(1)
        await page.get_by_role("button", name="Emoji").tap()
        await page.get_by_role("button", name="🎉").tap()
        await page.get_by_role("button", name="Send").tap()
        await eventually(lambda: pair.daemon.texts[-1:] == ["🎉"])
        await page.get_by_role("button", name="Back to the people").tap()
        await page.locator(".row", has_text="Robin").tap()
        await expect(page.locator(".bubble.person")).to_have_count(2)


async def test_the_newest_is_in_sight_unless_one_reads_above(pair: Pair, browser: Browser) -> None:
    for number in range(40):
        pair.simulator.exchange.write(pair.robin, f"line {number}")
    await eventually(lambda: len(pair.daemon.texts) == 40)
    async with shown(browser, pair.simulator.url, "scrolled") as page:
        scroller, log = page.locator("#scroller"), page.locator("#log")
        await expect(log.get_by_text("line 39", exact=True)).to_be_in_viewport()
        await scroller.evaluate("box => box.scrollTop = 0")
        await expect(page.locator("#jump")).to_be_visible()
        await pair.daemon.send("+15550100123", "down here")
        await expect(page.locator("#jump-count")).to_have_text("1")
        await expect(log.get_by_text("line 0", exact=True)).to_be_in_viewport()
        await page.locator("#jump").click()
        await expect(log.get_by_text("down here", exact=True)).to_be_in_viewport()
        await expect(page.locator("#jump")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_sticks_out_sideways(pair: Pair, browser: Browser, scheme: str) -> None:
    exchange = pair.simulator.exchange
    exchange.write(pair.robin, "a" * 300 + " https://example.invalid/" + "b" * 200)
    exchange.add_person("A very long name of a person with many names", "+44 7700 900123")
    await eventually(lambda: pair.daemon.texts)
    await pair.daemon.send("+15550100123", "```" + "c" * 400 + "```\n" + FORMATTED)
    async with shown(browser, pair.simulator.url, f"wide-{scheme}", color_scheme=scheme) as page:
        await expect(page.locator(".bubble")).to_have_count(2)
        for width in (320, 390, 759, 760, 1280):
            await page.set_viewport_size({"width": width, "height": 700})

            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
            assert await page.locator("#scroller").evaluate("box => box.scrollWidth <= box.clientWidth"), width


async def test_the_first_person_is_asked_for(browser: Browser, pair: Pair, daemon_only: Daemon) -> None:
    async with running_simulator(pair.simulator.secrets) as empty:
        join(daemon_only, empty)
        async with shown(browser, empty.url, "first") as page:
            await page.get_by_label("Name").fill("Robin")
            await page.get_by_role("button", name="Add", exact=True).click()
            await write(page, "hi")
            await eventually(lambda: daemon_only.texts == ["hi"])


@pytest.fixture
async def daemon_only(pair: Pair) -> Daemon:
    return pair.daemon


async def test_the_address_names_whose_phone_one_holds(pair: Pair, browser: Browser) -> None:
    pair.simulator.exchange.add_person("Mika", "+49 1512 3456789")
    async with shown(browser, f"{pair.simulator.url}/?as=4915123456789", "as", viewport=DESKTOP) as page:
        await expect(page.locator("#holder")).to_have_text("as Mika")
        await page.locator(".row", has_text="Robin").click()
        await page.reload()
        await expect(page.locator("#holder")).to_have_text("as Robin")


async def test_a_preview_that_is_too_long_ends_with_an_ellipsis(pair: Pair, browser: Browser) -> None:
    pair.simulator.exchange.write(pair.robin, "a long message about nothing in particular " * 4)
    async with shown(browser, pair.simulator.url, "previews", viewport=DESKTOP) as page:
        text = page.locator(".preview-text")
        await expect(text).to_have_css("text-overflow", "ellipsis")
        assert await text.evaluate("node => node.clientWidth < node.scrollWidth")


async def test_a_first_reply_that_takes_long_says_why(pair: Pair, browser: Browser) -> None:
    pair.simulator.exchange.write(pair.robin, "hi")
    await eventually(lambda: pair.daemon.texts)
    async with shown(browser, pair.simulator.url, "starting") as page:
        await pair.daemon.read(pair.last("hi").id, typing=True)
        await expect(page.locator(".dots")).to_be_visible()
        await expect(page.locator(".starting")).to_have_count(0)
        await expect(page.locator(".starting")).to_contain_text("15 to 30 seconds", timeout=10_000 * SCALE)
        await pair.daemon.send("+15550100123", "Here I am")
        await expect(page.locator(".dots")).to_have_count(0)
