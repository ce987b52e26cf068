# SPDX-License-Identifier: Apache-2.0
"""A TensorBoard of a folder, and a headless Chromium that is told over a pipe what to do: no driver, no websocket."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip

# The text that a reader sees, also inside the shadow roots of Polymer's elements; the colours of the lines that are
# drawn; how many pictures there are; what is still loading.
READ = """(() => {
  const seen = {text: [], strokes: {}, images: 0, busy: 0};
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) { if (node.data.trim()) seen.text.push(node.data.trim()); return; }
    if (node.nodeType === Node.ELEMENT_NODE) {
      const name = node.localName;
      if (['style', 'script', 'noscript', 'template', 'dom-module'].includes(name)) return;
      const style = getComputedStyle(node);
      if (style.display === 'none') return;
      if (name === 'img') { if (node.complete && node.naturalWidth > 1) seen.images++; else seen.busy++; }
      if (name === 'mat-spinner' || name === 'paper-spinner-lite' && node.active) seen.busy++;
      if (name === 'path' && style.stroke !== 'none' && node.getTotalLength() > 20)
        seen.strokes[style.stroke] = (seen.strokes[style.stroke] || 0) + 1;
    }
    for (const child of (node.shadowRoot || node).childNodes) walk(child);
    if (node.shadowRoot) for (const child of node.childNodes) walk(child);
  };
  walk(document.body);
  return seen;
})()"""


def chromium() -> str | None:
    """The command that starts Chromium, if there is one."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask until the answer is true; a TimeoutError says for what it waited."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} took more than {seconds:.0f} s.")
        time.sleep(0.1)
    return answer


@contextmanager
def tensorboard(logdir: Path, seconds: float = 60) -> Iterator[str]:
    """A TensorBoard of a folder; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, "--port", port, "--host", "127.0.0.1"]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [str(word) for word in (*command, "--reload_interval", 0)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:

        def answers() -> bool:
            if server.poll() is not None:
                raise RuntimeError(f"tensorboard ended with {server.returncode}.")
            try:
                with urllib.request.urlopen(f"{address}/data/runs", timeout=5) as reply:  # noqa: S310 - http, our own
                    return bool(json.load(reply))
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        try:
            wait_for(answers, seconds, "Starting TensorBoard")
            yield address
        finally:
            server.terminate()


class Browser:
    """A headless Chromium, told what to do over a pipe (DevTools protocol), with one page.

    Args:
        width, height: of the window in pixels.
        scale: of the pictures: 2 for twice as many pixels.
    """

    def __init__(self, width: int = 1400, height: int = 1000, scale: float = 1.0) -> None:
        command = chromium()
        if command is None:
            raise RuntimeError("Chromium was not found: install Debian's chromium, or set CHROMIUM to its command.")
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The protocol's pipes are descriptors 3 and 4.
        script = f'exec "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}'
        arguments = [command, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", *arguments],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._received = b""
        self._count = 0
        self._session: str | None = None
        (target,) = [t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self._session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._profile.cleanup()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while True:
            text, mark, rest = self._received.partition(b"\0")
            if mark:
                self._received = rest
                answer = json.loads(text)
                if answer.get("id") != self._count:
                    continue  # an event
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium did not answer to {method} for 60 s.")
            received = os.read(self._in, 1 << 20)
            if not received:
                raise RuntimeError("Chromium ended.")
            self._received += received

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        self._size |= {"width": width, "height": height}
        self.send("Emulation.setDeviceMetricsOverride", **self._size)

    def theme(self, name: str) -> None:
        """``light`` or ``dark``, as the system would ask for it."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def open(self, address: str) -> None:
        """Load a page anew."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)

    def screenshot(self, path: Path) -> Path:
        """Write what the window shows as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))
        return path

    def read(self) -> dict[str, Any]:
        """What the page shows: ``text``, ``strokes`` (lines by colour), numbers of ``images`` and of the ``busy``."""
        return dict(self.evaluate(READ))
