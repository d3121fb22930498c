"""The messages of the protocol, from its compiled description.

The description is loaded into a pool of its own. So it works with every release of protobuf that gRPC takes (generated
modules insist on one major version), and does not clash with clients that bring their own copy of the same protocol,
as tritonclient and kserve do.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

__all__ = ["COMPILED", "POOL", "message"]

COMPILED = "messages.binpb"
POOL = DescriptorPool()

for _file in FileDescriptorSet.FromString(files(__package__).joinpath(COMPILED).read_bytes()).file:
    POOL.AddSerializedFile(_file.SerializeToString())


def message(name: str) -> Any:
    r"""The class of a message.

    Args:
        name: Its full name.

    Example:
        >>> message("inference.ModelReadyRequest")(name="flights").SerializeToString()
        b'\n\x07flights'
    """
    return GetMessageClass(POOL.FindMessageTypeByName(name))
