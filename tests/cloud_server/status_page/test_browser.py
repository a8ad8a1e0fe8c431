"""The page in a headless Chromium: it shows devices, opens one, follows the theme, and executes nothing of a name's.

Needs Debian's `chromium-headless-shell` (or any Chromium) and the package `playwright`; else it is skipped.
"""

from __future__ import annotations

import shutil
import time

import pytest

from tests.support.status_pages import HOSTILE, TOKEN, add_device, page

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.async_api")
pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@pytest.fixture
async def browser():
    async with playwright.async_playwright() as driver:
        found = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        await found.close()


async def opened(browser, address: str, **options):
    """Return the page in a context of its own, with all that it complains of."""
    tab = await (await browser.new_context(**options)).new_page()
    tab.complaints = []
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.on("dialog", lambda dialog: tab.complaints.append("a dialog"))
    await tab.goto(f"http://{address}/")
    await tab.wait_for_selector("#devices tr")
    return tab


async def test_devices_appear_and_one_is_opened_copied_and_closed(browser):
    async with page() as one:
        add_device(one.fleet, time.monotonic(), HOSTILE)
        tab = await opened(browser, one.address, permissions=["clipboard-read", "clipboard-write"])
        assert await tab.locator("#devices .name").inner_text() == (
            '<img src=x onerror="document.title=1">\\x1b[2J"} 1 slimsplit_evil 1'
        )
        assert await tab.locator("#devices .chip").inner_text() == "split"
        parts = "10.0\n3.0 answered + 2.0 local + 3.0 late + 1.5 skipped + 0.5 lost"
        assert await tab.locator("#devices td.camera").inner_text() == parts
        assert await tab.locator(".finding.warning").count() == 2
        await tab.click("#devices .name")
        await tab.wait_for_selector("dialog[open]")
        assert "the camera is gone" in await tab.locator("#log").inner_text()
        assert "most accurate in time" in await tab.locator("#decisions").inner_text()
        await tab.click("#copy")
        assert '"most accurate in time"' in await tab.evaluate("navigator.clipboard.readText()")
        await tab.keyboard.press("Escape")
        assert await tab.locator("dialog[open]").count() == 0
        assert await tab.title() == "SlimSplit status"
        assert [text for text in tab.complaints if "preview.jpg" not in text] == []


async def test_a_device_that_comes_later_is_shown_without_a_reload(browser):
    async with page() as one:
        add_device(one.fleet, time.monotonic())
        tab = await opened(browser, one.address)
        add_device(one.fleet, time.monotonic(), "camera-2")
        await tab.wait_for_selector("#devices tr:nth-child(2)")
        await tab.fill("#filter", "camera-2")
        assert await tab.locator("#shown").inner_text() == "1 of 2"


@pytest.mark.parametrize(("scheme", "background"), [("light", "rgb(246, 247, 248)"), ("dark", "rgb(18, 23, 27)")])
async def test_it_follows_the_theme_of_the_system_and_its_button(browser, scheme, background):
    async with page() as one:
        add_device(one.fleet, time.monotonic())
        tab = await opened(browser, one.address, color_scheme=scheme)
        colour = "getComputedStyle(document.body).backgroundColor"
        assert await tab.evaluate(colour) == background
        await tab.click("#theme")
        assert await tab.evaluate(colour) != background


async def test_nothing_is_wider_than_a_phone(browser):
    async with page() as one:
        add_device(one.fleet, time.monotonic(), "a-camera-whose-name-has-no-blanks-and-does-not-end" * 2)
        tab = await opened(browser, one.address, viewport={"width": 360, "height": 740})
        assert await tab.evaluate("document.documentElement.scrollWidth") <= 360
        await tab.click("#devices .name")
        await tab.wait_for_selector("dialog[open]")
        assert await tab.evaluate("document.querySelector('dialog').scrollWidth") <= 360


async def test_a_browser_from_outside_logs_in(browser):
    async with page(TOKEN) as one:
        add_device(one.fleet, time.monotonic())
        port = one.address.rpartition(":")[2]
        context = await browser.new_context()
        tab = await context.new_page()
        await tab.goto(f"http://edge-node.localhost:{port}/")  # resolves to loopback, but is no name of this machine
        await tab.fill("#token", TOKEN)
        await tab.click("button")
        await tab.wait_for_selector("#devices tr")
