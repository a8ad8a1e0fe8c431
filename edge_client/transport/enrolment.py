"""Asks a server for an identity, with a code of one use."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_client.transport.channel import open_channel
from edge_client.transport.credentials import Credentials, ServerTls
from edge_client.transport.delivery import open_delivery
from edge_client.transport.identity import (
    MAX_ROOT_BYTES,
    Identity,
    check_writable,
    identities_folder,
    keep_identity,
    keep_update_root,
)
from edge_client.transport.servers import split_address
from edge_client.transport.status import session_error
from edge_client.transport.tls_files import TlsFiles
from protos import device_enrolment_pb2 as pb
from protos.device_enrolment_pb2_grpc import DeviceEnrolmentStub
from splitnet.device_keys import new_root
from splitnet.enrolment import EnrolRequest, code_key, device_proof, is_same, server_proof
from splitnet.errors import AccessError, LinkError, ProtocolError, SplitError
from splitnet.updates.signed_list import FIRST_ROOT
from splitnet.wire.enrolment import enrol_reply_from_proto, enrol_request_to_proto

TIMEOUT_S = 10.0


async def enrol(server: str, code: str, folder: Path | None = None) -> tuple[Identity, Path]:
    """Make a key, register its public half at HOST:PORT, and keep all that; returns the identity and where it is.

    Raises AccessError if the code or the server is wrong, LinkError if it cannot be reached, ConfigError.
    """
    host, port = split_address(server)
    code_of, key = code_key(code), Ed25519PrivateKey.generate()
    check_writable(folder or identities_folder())
    leaf = await asyncio.to_thread(_certificate_shown, host, port)
    root = new_root(key)
    request = EnrolRequest(root, device_proof(code_of, leaf, root))
    reply = enrol_reply_from_proto(await _asked(server, leaf, enrol_request_to_proto(request)))
    if not is_same(server_proof(code_of, root, reply), reply.proof):
        raise AccessError("the server does not know this code: something stands between, or it is another server")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown = f"[{host}]" if ":" in host else host
    identity = Identity(reply.device_id, f"{shown}:{reply.port}", reply.server_name, reply.server_authority, private)
    place = keep_identity(identity, folder)
    await _trust_models(identity.server, place)
    return identity, place


async def _trust_models(server: str, place: Path) -> None:
    """Trust the models of the server that was just proven to know the code, if it gives any."""
    with suppress(SplitError):
        async with open_delivery(server, credentials=Credentials(TlsFiles(identity=place))) as delivery:
            root = await delivery.whole(FIRST_ROOT, MAX_ROOT_BYTES)
        if root is not None:
            keep_update_root(root, place)


async def _asked(server: str, leaf: bytes, request: pb.EnrolRequest) -> pb.EnrolReply:
    """Ask over a channel to whoever has this certificate, and to nobody else."""
    certificate = x509.load_der_x509_certificate(leaf)
    pinned = grpc.ssl_channel_credentials(certificate.public_bytes(Encoding.PEM))
    async with await open_channel(server, tls=ServerTls(pinned, _name_of(certificate))) as channel:
        stub = DeviceEnrolmentStub(channel)  # type: ignore[no-untyped-call]
        try:
            reply = await stub.Enrol(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise ProtocolError(f"{server} enrols no devices: see --enrol-listen of the server") from error
            raise session_error(error.code(), error.details() or "") from error
    assert isinstance(reply, pb.EnrolReply)
    return reply


def _certificate_shown(host: str, port: int) -> bytes:
    """Return the certificate that a server shows, DER: the proof will say whether it is the right one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as plain, context.wrap_socket(plain) as tls:
            found = tls.getpeercert(binary_form=True)
    except ssl.SSLError as error:
        raise LinkError("it speaks no TLS: codes are for the address that the server names for enrolment") from error
    except OSError as error:
        raise LinkError(f"{host}:{port} cannot be reached ({error.strerror or error})") from error
    if not found:
        raise LinkError("the server shows no certificate")
    return found


def _name_of(certificate: x509.Certificate) -> str:
    """Return a name that a certificate is for."""
    with suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for kind in (x509.DNSName, x509.IPAddress):
            if found := names.get_values_for_type(kind):
                return str(found[0]).replace("*", "any")
    raise AccessError("the server's certificate is for no name")
