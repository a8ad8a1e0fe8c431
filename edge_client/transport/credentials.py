"""How a device shows who it is, and how it knows the server: TLS for a channel, anew whenever its files change."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from edge_client.transport.identity import Identity, find_identity
from edge_client.transport.servers import split_address
from edge_client.transport.tls_files import SYSTEM, TlsFiles, read_authorities, read_file, read_pair
from splitnet.errors import ConfigError

logger = logging.getLogger(__name__)

LOOPBACK = ("127.", "localhost", "::1")


@dataclass(frozen=True)
class ServerTls:
    """What a channel to one server needs."""

    credentials: grpc.ChannelCredentials | None  # None: no TLS
    name: str | None = None  # that the server's certificate must be for, if not its host
    metadata: tuple[tuple[str, str], ...] = ()  # of every call
    device_id: str | None = None  # that the device has at this server


NO_TLS = ServerTls(None)


@dataclass
class Credentials:
    """Reads files when a channel is opened: what has changed is used for the next one."""

    files: TlsFiles = field(default_factory=TlsFiles)
    _certificates: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)  # signed by this process, by key
    _good: dict[str, ServerTls] = field(default_factory=dict)  # by server

    def of(self, server: str) -> ServerTls:
        """Return what to open a channel to HOST:PORT with.

        Raises ConfigError if a file is missing or damaged; once they were good, what they were goes on, since they may
        be half written.
        """
        try:
            self._good[server] = self._read(server)
        except ConfigError as error:
            if server not in self._good:
                raise
            logger.warning("going on with the certificates of before: %s", error)
        return self._good[server]

    def _read(self, server: str) -> ServerTls:
        files = self.files
        if (identity := find_identity(server, files.identity)) is not None and not (
            files.client_cert or files.token_file
        ):
            return self._enrolled(identity)
        if not files.given:
            return NO_TLS
        metadata = () if files.token_file is None else (("authorization", f"Bearer {_token(files.token_file)}"),)
        host, _ = split_address(server)
        if files.server_ca is None:
            if metadata and not host.startswith(LOOPBACK):
                raise ConfigError("a token goes over TLS only: give --server-ca FILE, or --server-ca system")
            return ServerTls(None, metadata=metadata)
        roots = None if files.server_ca == SYSTEM else read_authorities(Path(files.server_ca))
        key, chain = (None, None)
        if files.client_cert is not None and files.client_key is not None:
            key, chain = read_pair(files.client_cert, files.client_key)
        return ServerTls(grpc.ssl_channel_credentials(roots, key, chain), host, metadata)

    def state(self, server: str) -> tuple[object, ...]:
        """Return what changes when whatever the channel to a server was opened with does."""
        identity = find_identity(server, self.files.identity)
        return (*self.files.state(), None if identity is None else identity.key)

    def _enrolled(self, identity: Identity) -> ServerTls:
        key, certificate = self._signed(identity.key)
        roots = identity.server_authority or None
        host, _ = split_address(identity.server)
        credentials = grpc.ssl_channel_credentials(roots, key, certificate)
        return ServerTls(credentials, identity.server_name or host, device_id=identity.device_id)

    def _signed(self, key: bytes) -> tuple[bytes, bytes]:
        if key not in self._certificates:
            # Here, because a device without an identity needs none of it: 9 MB of memory.
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            from splitnet.device_keys import new_client_certificate

            private = load_pem_private_key(key, None)
            if not isinstance(private, Ed25519PrivateKey):
                raise ConfigError("the key of this device's identity is of another kind: enrol it anew")
            self._certificates.clear()
            self._certificates[key] = new_client_certificate(private)
        return self._certificates[key]


def _token(path: Path) -> str:
    token = read_file(path).decode("ascii", "replace").strip()
    if not token or not token.isascii() or not token.isprintable() or len(token) > 256:
        raise ConfigError(f"--token-file {path} holds no token: one line of `cloud-server devices token`")
    return token
