"""Virtual time on the wall clock: it runs `speed` times as fast."""

import asyncio
import time


class Clock:
    """Virtual seconds since it was made."""

    __slots__ = ("_origin", "speed")

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._origin = time.monotonic()

    @property
    def now(self) -> float:
        """The present moment."""
        return (time.monotonic() - self._origin) * self.speed

    def left(self, moment: float) -> float:
        """Seconds of the wall clock until a virtual moment; 0 when it has passed."""
        return max(0.0, (moment - self.now) / self.speed)

    async def until(self, moment: float) -> None:
        """Wait for a virtual moment; at least once let others run."""
        await asyncio.sleep(self.left(moment))
