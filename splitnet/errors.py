"""Every error that this software raises on purpose. Each message says what to do about it."""


class SplitError(Exception):
    """The root: catch this to catch all of ours."""


class ConfigError(SplitError):
    """A setting is out of range or contradicts another one."""


class BackendError(ConfigError):
    """What is to run a network is missing, or does not work here."""


class BundleError(SplitError):
    """A bundle is missing, incomplete, damaged or of an unknown format."""


class DigestMismatchError(BundleError):
    """A file of a bundle is not the one that its manifest names."""


class UpdateError(BundleError):
    """An artefact for devices is damaged, not for this device, or does not give what it promises."""


class UntrustedError(UpdateError):
    """What a server offers is not signed by whom this device trusts, or is expired, replayed or older."""


class BitstreamError(SplitError):
    """Bytes that are not a bitstream of this bundle: truncated, damaged, foreign or too large."""


class ImageFileError(BitstreamError):
    """Bytes that are not an image file: damaged, truncated, of another kind or too large."""


class MissingReferenceError(BitstreamError):
    """A frame builds on one that this end does not hold, or holds differently."""

    def __init__(self, low_bits: int) -> None:
        super().__init__(f"the frame builds on frame {low_bits} (its low 16 bits), which is not here: send it whole")
        self.low_bits = low_bits


class StreamGapError(BitstreamError):
    """A picture of a video stream has come without the one before it."""

    def __init__(self) -> None:
        super().__init__("the H.264 picture does not follow on the last one that came here: send a keyframe")


class ProtocolError(SplitError):
    """The peer broke the rules of the session: wrong version, wrong order, missing fields."""


class ProtocolVersionError(ProtocolError):
    """Client and server speak different versions of the protocol."""


class BundleMismatchError(ProtocolError):
    """Client and server hold different bundles."""


class PlaceTakenError(SplitError):
    """Another device makes this part of its group's frames already."""


class AccessError(SplitError):
    """Whoever asks has not shown who it is: no, a wrong or a revoked certificate, token or code."""


class ForbiddenError(SplitError):
    """A device that is known may not do this."""


class ProfileError(SplitError):
    """A device's profile is damaged, or belongs to another device or bundle."""


class LinkError(SplitError):
    """The server cannot be reached, or the connection to it broke: worth another attempt."""


class SourceError(SplitError):
    """A frame source cannot be opened, or has vanished."""


class OutputError(SplitError):
    """Results, or what was to be printed, could not be written."""


class ShedError(SplitError):
    """The server is too busy to answer this frame in time and has refused it."""


class DeadlineExceededError(SplitError):
    """The frame's deadline passed before its detections were ready."""


class ListenError(SplitError):
    """The server cannot listen on the address it was given."""


class DrainingError(SplitError):
    """The server is shutting down and takes no new work."""


class ClusterError(SplitError):
    """The cluster has not computed a batch, or cannot run a bundle."""


class ClusterTimeoutError(ClusterError):
    """The cluster has not answered in time: what it was asked for is late by now."""
