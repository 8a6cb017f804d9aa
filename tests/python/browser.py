# SPDX-License-Identifier: Apache-2.0
"""A headless browser of a given size, or a skipped test where there is none: Chromium by its driver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
SIZES = [pytest.param((1366, 768), id="wide"), pytest.param((400, 800), id="narrow")]


@contextmanager
def browser_of(size: tuple[int, int]) -> Iterator[Any]:
    """Open a browser whose window shows so many pixels."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'semdiff-torch[dev]'")
    if BROWSER is None or DRIVER is None:
        pytest.skip("needs a browser and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        view = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
        yield browser
    finally:
        browser.quit()


def fits_the_window(page: Any) -> bool:
    """Whether nothing of the page lies beside the window."""
    return bool(page.execute_script("return document.documentElement.scrollWidth <= innerWidth"))
