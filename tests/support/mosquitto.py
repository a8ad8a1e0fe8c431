"""A real MQTT broker: Debian's package mosquitto, on a free port of loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
PATIENCE_S = 20.0


def find_mosquitto() -> str:
    """Return the program, or skip."""
    found = shutil.which("mosquitto") or next(
        (path for folder in PLACES if (path := shutil.which("mosquitto", path=folder))), None
    )
    if found is None:
        pytest.skip("no MQTT broker here: apt-get install mosquitto")
    return found


class Mosquitto:
    """A broker that can be stopped and started again on its port; it keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._program = find_mosquitto()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        passwords = folder / "passwords"
        passwords.touch(mode=0o600)
        tool = shutil.which("mosquitto_passwd")
        self.has_passwords = tool is not None
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence false"]
        if tool is not None:
            subprocess.run([tool, "-b", str(passwords), "camera", "open sesame"], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        if Path("/etc/passwd").exists():
            lines.append("user root")
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                assert self._process.poll() is None, "mosquitto has ended"
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
