"""A real headless Chromium that opens pages, through its debugging protocol: one process for many pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import websocket

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass
class Opened:
    """What opening a page gave."""

    title: str
    scroll_width: int
    """Pixels that the page takes; more than the window is wide where it scrolls sideways."""
    background: str
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Addresses that it asked for, other than its own files and pictures in it."""
    broken: int = 0
    """Pictures that could not be shown."""


class Browser:
    """A running Chromium with one window."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket, self._number, self._session, self._events = socket, 0, None, []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, width: int = 900, *, dark: bool = False) -> Opened:
        """Open a page in a window of some width and wait until it is loaded."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self._call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._receive()
        images = "[...document.images].filter(image => !image.naturalWidth).length"
        parts = f"document.title, document.documentElement.scrollWidth, {images}"
        asked = f"JSON.stringify([{parts}, getComputedStyle(document.body).backgroundColor])"
        title, scrolled, broken, background = json.loads(
            self._call("Runtime.evaluate", expression=asked)["result"]["value"]
        )
        found = Opened(title, scrolled, background, broken=broken)
        failed = [e["params"] for e in self._events if e["method"] == "Network.loadingFailed"]
        kept_back = {own["requestId"] for own in failed if own.get("blockedReason") == "csp"}  # never sent
        for event in self._events:
            own = event["params"]
            if event["method"] == "Runtime.consoleAPICalled":
                found.console.append(str(own["args"]))
            elif event["method"] == "Runtime.exceptionThrown":
                found.console.append(str(own["exceptionDetails"].get("text")))
            elif event["method"] == "Log.entryAdded":
                found.console.append(own["entry"]["text"])
            elif event["method"] == "Network.requestWillBeSent":
                url = own["request"]["url"]
                if not url.startswith(("file:", "data:")) and own["requestId"] not in kept_back:
                    found.requests.append(url)
        return found

    def _call(self, method: str, **parameters: object) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        number = self._number
        self._socket.send(json.dumps(message))
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict:
        answer = json.loads(self._socket.recv())
        if "method" in answer:
            self._events.append(answer)
        return answer


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in a folder; without one on the path CI fails, and elsewhere the test is skipped."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on the path: install it to test the pages (apt-get install chromium)")
    assert found, "continuous integration needs Chromium"
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    flags += " --disable-component-update --disable-default-apps --disable-extensions --hide-scrollbars"
    flags += " --remote-debugging-port=0"
    command = [found, *flags.split(), "--remote-allow-origins=*", f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            note = folder / "DevToolsActivePort"
            while not (note.exists() and note.read_text().count("\n")):
                assert process.poll() is None, "the browser ended before it could be asked"
                time.sleep(0.05)
            port, path = note.read_text().splitlines()
            with closing(websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=120)) as socket:
                yield Browser(socket)
        finally:
            process.kill()
