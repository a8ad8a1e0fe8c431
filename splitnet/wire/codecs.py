"""The codecs of payloads as their numbers in messages."""

from __future__ import annotations

from protos import split_inference_pb2 as pb
from splitnet.operating_point import Codec

CODEC_NAME = {codec: f"CODEC_{codec.name}" for codec in Codec if codec.is_sent}
CODEC_OF_NUMBER = {pb.Codec.Value(name): codec for codec, name in CODEC_NAME.items()}
