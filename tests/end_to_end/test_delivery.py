"""A server and two devices as real processes: a model is signed, staged, watched, rolled out and rolled back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks.harness.processes import PROJECT, child_process, server_process
from splitnet.manifest import ENCODER_FILE, Manifest
from tests.support.tiny_bundle import write_tiny_bundle
from tests.support.updated_bundle import write_updated

PATIENCE_S = 120.0


class Site:
    """A server's folders, and devices that run against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundles: list[Manifest] = []
        for seed in (0, 1):
            self.bundles.append(write_tiny_bundle(folder / "bundles" / f"tiny-{seed}", seed))
        self.updated = write_updated(folder / "bundles" / "tiny-0", folder / "updated" / "tiny-next")
        shutil.copytree(self.updated.bundle, folder / "bundles" / "tiny-next")
        self.address = ""

    def tell(self, *words: object) -> str:
        """Run a command of the server's; returns what it says."""
        where = ["--updates", self.folder / "updates"]
        if words[:2] in (("keys", "new"), ("bundle", "sign")):
            where += ["--keys", self.folder / "keys"]
        command = [sys.executable, "-m", "cloud_server", *map(str, [*words, *where])]
        ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what the server knows of the devices, by name."""
        return {one["device"]: one for one in json.loads(self.tell("rollout", "status", "--json"))["devices"]}

    def until(self, wanted: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
        """Wait until the server says something of the devices."""
        until = time.monotonic() + PATIENCE_S
        while not wanted(found := self.status()):
            assert time.monotonic() < until, found
            time.sleep(0.5)
        return found

    def lose_whole(self, version: int) -> None:
        """Remove the encoder of a whole device half from the server: then only an update leads there."""
        signed = json.loads(self.tell("bundle", "list", "--json"))
        (whole,) = (one for one in signed if (one["version"], one["kind"], one["form"]) == (version, "bundle", "torch"))
        (encoder,) = (one["stored_sha256"] for one in whole["files"] if one["name"] == ENCODER_FILE)
        (path,) = (self.folder / "updates").rglob(encoder)
        path.unlink()

    def device(self, name: str, source: Path, pin: str) -> list[str]:
        """Return the command of a device that has no model, and looks at images for ever."""
        return [
            *("edge_client", "run", "--server", self.address, "--source", str(source), "--loop", "--fps", "20"),
            *("--device-id", name, "--trust", pin, "--trial-s", "1", "--models", str(self.folder / name)),
            *("--out", str(self.folder / f"{name}.jsonl")),
        ]


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path)


@pytest.mark.long
def test_a_model_is_staged_rolled_out_and_rolled_back(site, tmp_path, photo):
    pin = site.tell("keys", "new").split()[-1]
    assert "version 1: tiny-0" in site.tell("bundle", "sign", tmp_path / "bundles" / "tiny-0")
    images = tmp_path / "images"
    images.mkdir()
    for index in range(5):
        cv2.imwrite(str(images / f"{index}.jpg"), photo[index : 200 + index, :300])
    with server_process(
        tmp_path / "bundles", tmp_path / "server.log", "--no-tune", "--updates", str(tmp_path / "updates")
    ) as server:
        site.address = server.address
        logs = [(tmp_path / f"{name}.log").open("w") for name in ("one", "two")]
        with (
            child_process(site.device("one", images, pin), stderr=logs[0]),
            child_process(site.device("two", images, pin), stderr=logs[1]),
        ):
            has = dict.fromkeys(("one", "two"), (1, site.bundles[0].digest[:12]))
            site.until(lambda found: {name: (d["version"], d["digest"]) for name, d in found.items()} == has)
            assert "version 2: tiny-1" in site.tell("bundle", "sign", tmp_path / "bundles" / "tiny-1")
            site.tell("rollout", "group", "first", "one")
            site.tell("publish", 2, "--to", "first", "--max-concurrent", 1)
            found = site.until(lambda found: found["one"]["version"] == 2)
            assert found["one"]["phase"] == "committed" and found["two"]["version"] == 1
            site.tell("publish", 2, "--to", "all")
            site.until(lambda found: found["two"]["version"] == 2)
            assert "version 3: tiny-0" in site.tell("bundle", "sign", tmp_path / "bundles" / "tiny-0")
            site.tell("publish", 3, "--to", "all")  # the way back: the model of before, as a new version
            back = site.until(lambda found: all(one["version"] == 3 for one in found.values()))
            assert {one["digest"] for one in back.values()} == {site.bundles[0].digest[:12]}
            update = tmp_path / "next.ssu"
            update.write_bytes(site.updated.data)
            signed = site.tell("bundle", "sign", site.updated.bundle, "--update", update)
            assert f"version 4: tiny-0 {site.updated.manifest.digest[:12]} (update from" in signed
            site.lose_whole(4)
            site.tell("publish", 4, "--to", "all")  # what is sent are the changed weights
            last = site.until(lambda found: all(one["version"] == 4 for one in found.values()))
            assert {one["digest"] for one in last.values()} == {site.updated.manifest.digest[:12]}
        for log in logs:
            log.close()
    for name in ("one", "two"):
        assert (tmp_path / f"{name}.jsonl").stat().st_size > 0
