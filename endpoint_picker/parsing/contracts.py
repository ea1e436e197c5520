"""Reads protobuf messages by the contracts of `protos/`: the one module here that knows protobuf.

The messages are made from descriptors when this is imported, in a pool of their own, so that they meet
neither the version checks of generated code nor another package's messages of the same names.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

DESCRIPTORS: Final = Path(__file__).with_name("contracts.binpb")
"""Written by `make protos`."""


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    return pool


_POOL: Final = _pool()


def message(name: str) -> Any:
    """The class of a message, by its full name."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def reader(name: str) -> Callable[[bytes], Any]:
    """A function that reads one message; it raises ValueError for bytes that are none."""
    read = message(name).FromString

    def checked(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as error:
            raise ValueError(str(error)) from error

    return checked
