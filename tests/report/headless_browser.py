"""A page in headless Chromium, driven over its debugging pipe: no driver package, no port."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts")
FONTS = {"DejaVu Sans": "DejaVuSans*.ttf", "Liberation Sans": "LiberationSans-*.ttf", "FreeSerif": "FreeSerif*.ttf"}
"""Fonts of Debian that differ in width, one of them a serif, with the files they are in."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


def only_font(name: str, folder: Path) -> Path | None:
    """Writes a fontconfig file under which there is one font, or returns None where that is not installed."""
    files = [file for fonts in FONT_FOLDERS for file in fonts.rglob(FONTS[name])]
    for file in files:
        (folder / file.name).symlink_to(file)
    config = folder / "fonts.conf"
    config.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">'
        f"<fontconfig><dir>{folder}</dir><cachedir>{folder}/cache</cachedir></fontconfig>"
    )
    return config if files else None


class Navigated(Exception):
    """The page was left while a command was under way."""


class Page:
    """One tab. `console` collects errors and warnings, `requests` every address the page asked for."""

    def __init__(
        self,
        *,
        width: int = 1366,
        height: int = 900,
        dark: bool = False,
        mobile: bool = False,
        fontconfig: Path | None = None,
    ) -> None:
        self.console: list[str] = []
        self.requests: list[str] = []
        self._profile = tempfile.mkdtemp()
        self._number = 0
        self._buffer = b""
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={self._profile}"]
        wiring = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", wiring, "bash", *command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | ({"FONTCONFIG_FILE": str(fontconfig)} if fontconfig else {}),
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.scheme(dark=dark)

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def scheme(self, *, dark: bool) -> None:
        """Sets what prefers-color-scheme says."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, path: Path) -> None:
        """Loads a file and waits until its charts, if it has any, are drawn or have failed."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        drawn = "(!document.querySelector('.chart') || !!document.documentElement.dataset.charts)"
        self.wait(f"document.readyState === 'complete' && location.protocol === 'file:' && {drawn}")

    def fonts(self) -> set[str]:
        """Returns the fonts that the words of the page are set in."""
        self.call("DOM.enable")
        self.call("CSS.enable")
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        body = self.call("DOM.querySelector", nodeId=root, selector="h1")["nodeId"]
        return {font["familyName"] for font in self.call("CSS.getPlatformFontsForNode", nodeId=body)["fonts"]}

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Waits until a JavaScript condition holds."""
        end = time.monotonic() + seconds
        while not self._holds(condition):
            assert time.monotonic() < end, f"never came true: {condition}; console: {self.console}"
            time.sleep(0.05)

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.value(condition))
        except Navigated:
            return False

    def click(self, selector: str) -> None:
        """Clicks on an element, which may lead to another page."""
        with contextlib.suppress(Navigated):
            self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def value(self, expression: str) -> Any:
        """Evaluates JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Writes a PNG of the page."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends one command and returns its result; events that arrive meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "navigated" in str(answer.get("error")):
                    raise Navigated(method)
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._keep(answer)

    def _keep(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.console.append(json.dumps(params["args"]))
            case "Runtime.exceptionThrown":
                self.console.append(json.dumps(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.console.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], 60)
            assert ready, "the browser does not answer"
            chunk = os.read(self._read, 1 << 16)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer
