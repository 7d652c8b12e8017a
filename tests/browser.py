"""A real browser for tests: headless Chromium, driven over chromedriver's HTTP interface."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and shutil.which("chromedriver")),
    reason="no browser here; on Debian: sudo apt-get install chromium chromium-driver",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Browser:
    """The few things a test asks of a browser."""

    def __init__(self, address: str, session: str) -> None:
        self._address = f"{address}/session/{session}"

    def open(self, url: str) -> None:
        _post(f"{self._address}/url", {"url": url})

    def run(self, script: str) -> Any:
        """What a script returns: "return document.title"."""
        return _post(f"{self._address}/execute/sync", {"script": script, "args": []})

    def wait(self, script: str, seconds: float = 60) -> Any:
        """What a script returns as soon as that is true; fails with the page's text."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := self.run(script):
                return found
            time.sleep(0.3)
        raise AssertionError(f"{script}: never true; the page says: {self.text()[:3000]}")

    def wait_for_text(self, *texts: str, seconds: float = 60) -> str:
        for text in texts:
            self.wait(f"return document.body.innerText.includes({json.dumps(text)})", seconds)
        return self.text()

    def text(self) -> str:
        return self.run("return document.body.innerText")

    def screenshot(self, path: Path) -> Path:
        with urllib.request.urlopen(f"{self._address}/screenshot") as answer:
            path.write_bytes(base64.b64decode(json.load(answer)["value"]))
        return path


def _post(url: str, body: dict, method: str = "POST") -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]


@contextlib.contextmanager
def chromium(width: int = 1400, height: int = 1000, phone: bool = False) -> Iterator[Browser]:
    port = free_port()
    driver = subprocess.Popen(
        [shutil.which("chromedriver"), f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options = {
        "args": [*flags, f"--window-size={width},{height}"],
        "binary": CHROMIUM,
    }
    if phone:  # a window cannot be as narrow
        size = {"width": width, "height": height, "pixelRatio": 2}
        options["mobileEmulation"] = {"deviceMetrics": size}
    wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
    session = None
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                session = _post(f"{address}/session", wanted)["sessionId"]
                break
            time.sleep(0.1)
        yield Browser(address, session)
    finally:
        if session:  # else Chromium outlives its driver
            _post(f"{address}/session/{session}", {}, "DELETE")
        driver.terminate()
        driver.wait()
