"""How much a peer may waste, and how long it may take: what no single frame tells (RFC 9113, 10.5)."""

from typing import Final

from endpoint_picker.transport.frames import ConnectionFault, ErrorCode
from endpoint_picker.transport.limits import Limits

STREAMS_A_FRAME: Final = 50
"""Streams whose windows are changed in about the time that a frame takes."""


class Budget:
    """Pays for what cannot be forbidden but does no good; fills again with time.

    Paid for are pings, settings, priorities, unknown and empty frames, windows that open in tiny steps, what
    arrives after the end of its stream, streams that are reset before they were answered, and each reset that
    a peer provokes.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._most = float(limits.burst)
        self._rate = limits.rate
        self._left = self._most
        self._filled_at = now

    def spend(self, now: float, price: float = 1.0) -> None:
        """Raises ConnectionFault when there is nothing left to pay with."""
        self._left -= price
        if self._left >= 0.0:
            return
        passed, self._filled_at = now - self._filled_at, now
        self._left = min(self._most, self._left + passed * self._rate)
        if self._left < 0.0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that do no good")


class Watch:
    """Looks at the clock for one connection."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.begun = False
        """The peer's first SETTINGS have come."""
        self.acknowledged = False
        """The peer has taken our settings."""
        self.unfinished_since: float | None = None
        """When the first byte of a frame came whose last has not."""
        self.block_since: float | None = None
        """The same for a header block."""
        self.idle_since: float | None = now
        """Since when no stream is open; None: one is."""
        self.leaving_since: float | None = None
        """When we said goodbye and asked whether that has arrived."""
        self._limits = limits
        self._started = now
        self._heard_at = now
        self._asked_at: float | None = None

    def heard(self, now: float) -> None:
        """Something came."""
        self._heard_at = now
        self._asked_at = None

    def check(self, now: float) -> None:
        """Raises ConnectionFault when the peer takes too long for what it has begun."""
        limits = self._limits
        if not self.begun and now - self._started > limits.handshake:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no preface in time")
        if not self.acknowledged and now - self._started > 2 * limits.handshake:
            raise ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, "our settings were not taken in time")  # 6.5.3
        for since in (self.unfinished_since, self.block_since):
            if since is not None and now - since > limits.block:
                raise ConnectionFault(
                    ErrorCode.ENHANCE_YOUR_CALM, "a frame or header block that does not end"
                )
        if self._asked_at is not None and now - self._asked_at > limits.silence:
            raise ConnectionFault(ErrorCode.NO_ERROR, "no sign of life")

    def asks(self, now: float) -> bool:
        """Whether it is time to ask for a sign of life: who is gone without a word must not keep streams."""
        if self._asked_at is not None or now - self._heard_at <= self._limits.silence:
            return False
        self._asked_at = now
        return True

    def waits(self, now: float) -> bool:
        """Whether a peer has left that question open for too long."""
        return self.leaving_since is not None and now - self.leaving_since > self._limits.silence

    def idles(self, now: float) -> bool:
        """Whether no stream has been open for too long."""
        return self.idle_since is not None and now - self.idle_since > self._limits.idle
