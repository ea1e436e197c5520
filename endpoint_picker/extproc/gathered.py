"""Request bodies on their way in: gathered until the pick, within what one and what all of them may take."""

from typing import Final

from endpoint_picker.core.errors import PayloadTooLarge, ServiceUnavailable

PART_BYTES: Final = 64
"""What a part costs beside its bytes: clients may send bodies byte by byte."""


class Room:
    """What bodies may take, each of them and all together; one for all conversations."""

    def __init__(self, *, body: int, total: int) -> None:
        self.body = body
        """Bytes of one body."""
        self.held = 0
        """Bytes of all that are being gathered now."""
        self._total = total

    def check(self, size: int) -> None:
        """Raises PayloadTooLarge when a body of this size is too large."""
        if size > self.body:
            raise PayloadTooLarge(
                f"request body is larger than {self.body} bytes; "
                "the operator can raise --max-request-body-bytes"
            )

    def take(self, size: int) -> None:
        """Raises ServiceUnavailable when all bodies together are too large."""
        if self.held + size > self._total:
            raise ServiceUnavailable(
                f"request bodies of more than {self._total} bytes are being received at once; try again "
                "later (the operator can raise --max-gathered-body-bytes)"
            )
        self.held += size

    def give_back(self, size: int) -> None:
        self.held -= size


class Gathered:
    """The parts of a body so far."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._parts: list[bytes] = []
        self._size = 0
        self._taken = 0

    def add(self, data: bytes) -> None:
        """Raises PayloadTooLarge, ServiceUnavailable; nothing is held then."""
        self._size += len(data)
        try:
            self._room.check(self._size)
            self._room.take(len(data) + PART_BYTES)
        except BaseException:
            self.close()
            raise
        self._taken += len(data) + PART_BYTES
        self._parts.append(data)

    def hold(self, size: int) -> None:
        """Bytes beside the parts are needed until `close`. Raises ServiceUnavailable."""
        self._room.take(size)
        self._taken += size

    def take(self) -> bytes:
        """The whole body; what was gathered is let go."""
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self.close()
        return whole

    def close(self) -> None:
        """Let go of what was gathered."""
        self._room.give_back(self._taken)
        self._taken = 0
        self._parts.clear()
