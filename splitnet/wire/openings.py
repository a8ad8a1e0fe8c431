"""The mapping between the opening of a session, what it is answered, and their messages."""

from __future__ import annotations

from dataclasses import asdict, replace

from protos import split_inference_pb2 as pb
from splitnet.codec.bitstream import MAX_LAYERS
from splitnet.detections import MAX_CLASSES
from splitnet.errors import ProtocolError
from splitnet.messages import (
    MAX_CAMERA_CHARS,
    MAX_DEVICE_ID_CHARS,
    MAX_FURTHER,
    MAX_GROUP_CHARS,
    MAX_PARTS,
    BundleDescription,
    FurtherBundle,
    GroupPlace,
    OpenSession,
    SessionLimits,
    SessionOpened,
)
from splitnet.wire.codecs import CODEC_NAME, CODEC_OF_NUMBER
from splitnet.wire.versions import check_version, digest_from_proto, wanted_digest_from_proto


def open_from_proto(message: pb.OpenSession) -> OpenSession:
    """Return the opening in a message. Raises ProtocolError, ProtocolVersionError for another version."""
    check_version(message.protocol_version)
    if len(message.device_id) > MAX_DEVICE_ID_CHARS:
        raise ProtocolError(f"a device id has at most {MAX_DEVICE_ID_CHARS} characters")
    if len(message.camera) > MAX_CAMERA_CHARS:
        raise ProtocolError(f"the name of a camera has at most {MAX_CAMERA_CHARS} characters")
    digest = wanted_digest_from_proto(message.bundle_digest)
    if len(message.further_bundle_digests) > MAX_FURTHER:
        raise ProtocolError(f"a session has at most {MAX_FURTHER} further bundles: open another for the others")
    further = tuple(map(digest_from_proto, message.further_bundle_digests))
    if len({digest, *further}) < 1 + len(further):
        raise ProtocolError("a session names the same bundle twice: name each once")
    group = place_from_proto(message.group) if message.HasField("group") else None
    if group is not None and (further or not digest):
        raise ProtocolError("a device of a group names the group's bundle, and no further ones")
    return OpenSession(message.device_id, digest, message.protocol_version, further, message.camera, group)


def place_to_proto(place: GroupPlace | None) -> pb.GroupPlace | None:
    """Return a place in a group as a message, None if there is none."""
    return None if place is None else pb.GroupPlace(**vars(place))


def place_from_proto(message: pb.GroupPlace) -> GroupPlace:
    """Return a device's place in a group. Raises ProtocolError if there is no such place."""
    if not 0 < len(message.name) <= MAX_GROUP_CHARS or not message.name.isprintable():
        raise ProtocolError(f"the name of a group is printable text of 1 to {MAX_GROUP_CHARS} characters")
    if not 1 <= message.part <= message.parts <= MAX_PARTS:
        raise ProtocolError(f"part {message.part} of {message.parts} cannot be: parts are 1 to N, at most {MAX_PARTS}")
    return GroupPlace(message.name, message.part, message.parts, message.spare)


def opened_to_proto(reply: SessionOpened) -> pb.SessionOpened:
    """Return what an opening is answered as a message."""
    return pb.SessionOpened(
        protocol_version=reply.protocol_version,
        bundle_name=reply.bundle_name,
        bundle_digest=bytes.fromhex(reply.bundle_digest),
        server=reply.server,
        bundle=None if reply.bundle is None else _description_to_proto(reply.bundle),
        limits=None if reply.limits is None else pb.SessionLimits(**asdict(reply.limits)),
        session_id=reply.session_id,
        further=[_further_to_proto(one) for one in reply.further],
        group=place_to_proto(reply.group),
    )


def opened_from_proto(message: pb.SessionOpened) -> SessionOpened:
    """Return what an opening is answered. Raises ProtocolError, ProtocolVersionError for another version."""
    check_version(message.protocol_version)
    return SessionOpened(
        bundle_name=message.bundle_name,
        bundle_digest=digest_from_proto(message.bundle_digest),
        server=message.server,
        protocol_version=message.protocol_version,
        bundle=_description_from_proto(message.bundle) if message.HasField("bundle") else None,
        limits=_limits_from_proto(message.limits) if message.HasField("limits") else None,
        session_id=message.session_id,
        further=_further_from_proto(message),
        group=place_from_proto(message.group) if message.HasField("group") else None,
    )


def _further_to_proto(one: FurtherBundle) -> pb.FurtherBundle:
    return pb.FurtherBundle(
        bundle_name=one.bundle_name,
        bundle_digest=bytes.fromhex(one.bundle_digest),
        bundle=_description_to_proto(one.bundle),
        takes_features=one.takes_features,
    )


def _further_from_proto(message: pb.SessionOpened) -> tuple[FurtherBundle, ...]:
    if len(message.further) > MAX_FURTHER:
        raise ProtocolError(f"the server names {len(message.further)} further bundles, at most {MAX_FURTHER} can be")
    return tuple(
        FurtherBundle(
            one.bundle_name,
            digest_from_proto(one.bundle_digest),
            _description_from_proto(one.bundle),
            one.takes_features,
        )
        for one in message.further
    )


def _description_to_proto(bundle: BundleDescription) -> pb.BundleDescription:
    return pb.BundleDescription(**{**vars(bundle), "codecs": [CODEC_NAME[codec] for codec in bundle.codecs]})


def _description_from_proto(message: pb.BundleDescription) -> BundleDescription:
    if len(message.class_names) > MAX_CLASSES or not 0.0 <= message.score_threshold <= 1.0:
        raise ProtocolError("the server describes a bundle that cannot be: update the server")
    return BundleDescription(
        input_size=message.input_size,
        stride=message.stride,
        class_names=tuple(message.class_names),
        widths=message.widths,
        qualities=message.qualities,
        score_threshold=message.score_threshold,
        # Those that a newer server takes besides are of no use here.
        codecs=tuple(CODEC_OF_NUMBER[number] for number in message.codecs if number in CODEC_OF_NUMBER),
        parts=message.parts,
    )


def _limits_from_proto(message: pb.SessionLimits) -> SessionLimits:
    limits = SessionLimits(**{name: getattr(message, name) for name in SessionLimits.__dataclass_fields__})
    return replace(limits, max_layers=min(limits.max_layers, MAX_LAYERS))
