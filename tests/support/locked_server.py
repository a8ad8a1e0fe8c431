"""A server that lets known devices in only, on loopback ports, with a model without a network."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cloud_server.access.authority import AccessFolder
from cloud_server.access.directory import Directory
from cloud_server.access.entrance import Entrance, make_entrance
from cloud_server.access.gate import CallLimits
from cloud_server.config import ServeConfig
from cloud_server.engine import Engine
from cloud_server.registry import Registry
from cloud_server.server import Server
from edge_client.transport.credentials import Credentials
from edge_client.transport.enrolment import enrol
from edge_client.transport.session import open_session
from edge_client.transport.tls_files import TlsFiles
from splitnet.detections import Detections
from splitnet.enrolment import code_key, new_code
from splitnet.messages import FrameDetections, FrameError, FurtherBundle, OpenSession
from splitnet.operating_point import Mode
from tests.support.fake_model import FakeModel, frame
from tests.support.tiny_bundle import write_tiny_bundle


@dataclass
class Locked:
    """A server that listens."""

    server: Server
    access: AccessFolder
    directory: Directory
    address: str
    enrol_address: str
    model: FakeModel

    def invite(self, name: str, seconds: float = 60.0) -> str:
        """Return a code."""
        code, now = new_code(), time.time()
        self.access.store.invite(name, code_key(code), now, now + seconds)
        return code

    async def enrolled(self, name: str, folder: Path) -> Credentials:
        """Enrol a device; returns what it shows from then on."""
        code = await asyncio.to_thread(self.invite, name)
        await enrol(self.enrol_address, code, folder)
        return Credentials(TlsFiles(identity=folder))

    async def changed(self) -> None:
        """Let the server look at its devices now."""
        await asyncio.to_thread(self.directory.refresh)


def entrance_of(**settings: Any) -> Entrance:
    return make_entrance(ServeConfig(listen="127.0.0.1:0", **settings))


class FakeTaskModel(FakeModel):
    """The same answer by two bundles."""

    def __init__(self, first: FakeModel, second: FakeModel) -> None:
        super().__init__(first.digest)
        self.further = (FurtherBundle(second.name, second.digest, second.description, takes_features=True),)

    def infer(self, kind: Mode, batch: Sequence[bytes]) -> list[tuple[Detections, ...]]:
        return [(one, one) for one in super().infer(kind, batch)]


class FakeSharing:
    """Without a plan, bundles are answered side by side."""

    def plan_for(self, served: Mapping[str, Path]) -> None:
        return None

    def together(self, models: Sequence[FakeModel]) -> FakeTaskModel:
        return FakeTaskModel(*models)


@asynccontextmanager
async def started(
    entrance: Entrance, limits: CallLimits | None = None, second: FakeModel | None = None
) -> AsyncIterator[tuple[Server, str, FakeModel]]:
    """Yield a server, its address and its model. second: another one, which may answer beside it."""
    model, engine = FakeModel(), Engine[bytes](8, 64)
    with tempfile.TemporaryDirectory() as folder:
        models = [model] if second is None else [model, second]
        bundles = {Path(folder) / str(seed): one for seed, one in enumerate(models)}
        for seed, bundle in enumerate(bundles):
            write_tiny_bundle(bundle, seed)
        registry: Registry[bytes] = Registry(engine, list(bundles), bundles.__getitem__, sharing=FakeSharing())
        server = Server(engine, registry, "127.0.0.1:0", entrance=entrance, call_limits=limits)
        address = await server.start()
        try:
            yield server, address, model
        finally:
            model.gate.set()
            await server.stop(0.0, asyncio.Event())


@asynccontextmanager
async def locked(
    folder: Path,
    limits: CallLimits | None = None,
    hosts: Sequence[str] = ("127.0.0.1",),
    second: FakeModel | None = None,
) -> AsyncIterator[Locked]:
    """Yield a server that knows no device yet. hosts: what its certificate is for. second: as for `started`."""
    access = AccessFolder(folder)
    access.init(hosts, datetime.now(timezone.utc))
    entrance = entrance_of(access=folder)
    assert entrance.directory is not None
    async with started(entrance, limits, second) as (server, address, model):
        assert server.enrol_address is not None
        yield Locked(server, access, entrance.directory, address, server.enrol_address, model)


async def first_answer(server: str, credentials: Credentials | None, opening: OpenSession) -> object:
    """Open a session, send a frame, and return its answer."""
    async with open_session(server, opening, credentials=credentials) as session:
        session.send(frame(1))
        async for reply in session.replies():
            if isinstance(reply, FrameDetections | FrameError):
                return reply
    return None
