"""The gRPC service that enrols devices by codes of one use."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import grpc

from cloud_server.access.budgets import Buckets
from cloud_server.access.device_store import DeviceRecord, DeviceStore
from cloud_server.access.directory import Directory
from cloud_server.access.server_tls import ServerCertificate
from cloud_server.daemon_thread import in_daemon_thread
from protos import device_enrolment_pb2 as pb
from protos.device_enrolment_pb2_grpc import DeviceEnrolmentServicer
from splitnet.device_keys import key_id, read_root
from splitnet.enrolment import EnrolReply, device_proof, server_proof
from splitnet.errors import ConfigError, ShedError, SplitError
from splitnet.wire.enrolment import enrol_reply_to_proto, enrol_request_from_proto
from splitnet.wire.statuses import status_of

ATTEMPTS_PER_S = 1.0  # of all peers together: at this rate 40 bits take longer than any code is good for
ATTEMPTS_BURST = 10.0

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[pb.EnrolRequest, pb.EnrolReply]


class EnrolmentService(DeviceEnrolmentServicer):
    """Registers devices."""

    def __init__(
        self,
        store: DeviceStore,
        directory: Directory,
        certificate: ServerCertificate,
        reply: EnrolReply,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take where devices are kept, what clients of TLS see, and what each device is told, but for its name."""
        self._store = store
        self._directory = directory
        self._certificate = certificate
        self._reply = reply
        self._clock = clock
        self._attempts = Buckets(ATTEMPTS_PER_S, ATTEMPTS_BURST)

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolReply:  # noqa: N802
        """Enrol a device."""
        peer = context.peer()
        try:
            name, reply = await self._enrol(request)
        except ConfigError as error:  # the file: for the operator, and none of the peer's business
            logger.error("a device could not be kept", extra={"peer": peer, "reason": str(error)})
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the server cannot keep devices: see its log")
        except SplitError as error:
            logger.warning("enrolment refused", extra={"peer": peer, "reason": str(error)})
            await context.abort(status_of(error), str(error))
        logger.info("device enrolled", extra={"device": name, "peer": peer})
        return reply

    async def _enrol(self, message: pb.EnrolRequest) -> tuple[str, pb.EnrolReply]:
        if not self._attempts.allow("everybody", self._clock()):
            raise ShedError("too many attempts: wait some seconds, and try again")
        request = enrol_request_from_proto(message)
        key = read_root(request.certificate)
        device = DeviceRecord("", self._clock(), request.certificate, key.public_bytes_raw(), key_id(key))
        leaf = self._certificate.pair.leaf

        def prove(code_key: bytes) -> bytes:
            return device_proof(code_key, leaf, request.certificate)

        name, code_key = await in_daemon_thread(lambda: self._store.enrol(request.proof, prove, device))
        await in_daemon_thread(self._directory.refresh)
        told = replace(self._reply, device_id=name)
        return name, enrol_reply_to_proto(replace(told, proof=server_proof(code_key, request.certificate, told)))
