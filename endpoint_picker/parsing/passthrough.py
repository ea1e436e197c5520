"""Bodies that nobody reads: requests of any other API are routed by load alone, and go on as they came."""

from collections.abc import Sequence
from typing import ClassVar

from endpoint_picker.core.request import Payload, Usage
from endpoint_picker.plugin import Plugin, UsageReader


class Silent:
    """A usage reader for responses of which nothing is known."""

    def feed(self, chunk: bytes) -> None:
        """Nothing is kept."""

    def finish(self) -> Usage:
        """Nothing was reported."""
        return Usage()


class Passthrough(Plugin):
    """`passthrough-parser`: the fallback for every path that no other parser claims."""

    type = "passthrough-parser"
    suffixes: ClassVar[Sequence[str]] = ()

    def parse(self, path: str, body: bytes) -> Payload:
        """Neither is looked at."""
        return Payload(model=None)

    def rewrite(self, body: bytes, model: str) -> bytes:
        """The body as it came: where the name stands in it is not known."""
        return body

    def usage(self, *, streaming: bool) -> UsageReader:
        """Reads nothing."""
        return Silent()
