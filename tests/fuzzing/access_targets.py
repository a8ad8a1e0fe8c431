"""Targets of fuzzing: what strangers send to be let in. Each must be cheap, too: everybody may send it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from google.protobuf.message import DecodeError

from cloud_server.access.callers import Callers
from protos import device_enrolment_pb2 as pb
from splitnet.device_keys import check_signed, read_root, signer_of
from splitnet.enrolment import CODE_CHARS, code_key, server_proof
from splitnet.enrolment_link import read_enrolment_link
from splitnet.errors import SplitError
from splitnet.wire.enrolment import (
    enrol_reply_from_proto,
    enrol_reply_to_proto,
    enrol_request_from_proto,
    enrol_request_to_proto,
)

Target = Callable[[bytes], None]

MAX_COST_S = 0.02  # processor time of one input, on a machine of today
TRACED = 10  # times as long under a fuzzer that traces
ADDRESS = "ipv4:192.0.2.1:50312"


def access_targets() -> Mapping[str, Target]:
    """Return every target by name."""
    return {
        "enrol-request": enrol_request,
        "enrol-reply": enrol_reply,
        "enrol-link": enrol_link,
        "device-root": device_root,
        "client-certificate": client_certificate,
        "common-name": common_name,
    }


def within_cost(target: Target, most_s: float) -> Target:
    """Return a target that finds it a fault, too, when an input costs more processor time than that."""

    def measured(data: bytes) -> None:
        costs = []
        while not costs or (costs[-1] > most_s and len(costs) < 3):  # a garbage collection may come in between
            begin = time.thread_time()
            with suppress(SplitError):
                target(data)
            costs.append(time.thread_time() - begin)
        assert min(costs) <= most_s, f"an input of {len(data)} bytes costs {1000 * min(costs):.0f} ms"
        target(data)

    return measured


def enrol_request(data: bytes) -> None:
    """Read what a device asks for, and its certificate; what is accepted survives being sent on."""
    with suppress(DecodeError):
        message = pb.EnrolRequest.FromString(data)
        request = enrol_request_from_proto(message)
        assert enrol_request_from_proto(enrol_request_to_proto(request)) == request
        read_root(request.certificate)


def enrol_reply(data: bytes) -> None:
    """Read what a server answers."""
    with suppress(DecodeError):
        reply = enrol_reply_from_proto(pb.EnrolReply.FromString(data))
        assert enrol_reply_from_proto(enrol_reply_to_proto(reply)) == reply
        assert len(server_proof(bytes(32), b"root", reply)) == 32


def enrol_link(data: bytes) -> None:
    """Read a QR code's text; a code that is none costs nothing."""
    _, code = read_enrolment_link(data.decode("utf-8", "replace"))
    if len(code.replace("-", "")) != CODE_CHARS:  # one that may be a code costs a scrypt, which is meant
        code_key(code)


def device_root(data: bytes) -> None:
    """Read a device's root certificate."""
    assert len(read_root(data).public_bytes_raw()) == 32


def client_certificate(data: bytes) -> None:
    """Look who signed a client certificate."""
    body = base64.encodebytes(data).decode()
    certificate = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n".encode()
    assert isinstance(signer_of(certificate), str)
    check_signed(certificate, bytes(32))


def common_name(data: bytes) -> None:
    """Let an operator's certificate name a device, and open a session under it."""
    caller = Callers(own_authority=True).known(ADDRESS, {"x509_common_name": [data]}, ())
    assert caller.name is not None and caller.name.isprintable()
    caller.payer_of_session(caller.name)
