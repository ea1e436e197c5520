"""A Prometheus histogram for one label set, made for steps that observe the same value for a whole batch."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

INTER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, *INTER_TOKEN[9:], 160, 640, 2560)
REQUEST = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
ITERATION = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
CHOICES = (1, 2, 5, 10, 20)
PREEMPTIONS = (1, 2, 3, 4, 5, 10, 20)

_TRANSFER_TIME = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 5)
TRANSFER: dict[str, tuple[float, ...]] = {
    "nixl_xfer_time_seconds": _TRANSFER_TIME,
    "nixl_post_time_seconds": (0.001, *_TRANSFER_TIME),
    "nixl_bytes_transferred": tuple(2 ** (10 + power) for power in range(1, 25, 2)),
    "nixl_num_descriptors": (*(10, 20, 30, 50, 75, 100, 200, 400, 1000, 2000, 4000, 10_000, 20_000, 50_000),),
}


def tokens_up_to(limit: int) -> tuple[int, ...]:
    """Bounds 1, 2, 5, 10, 20, 50 … not above `limit`, as vLLM makes them from the context length."""
    bounds = []
    for exponent in range(len(str(limit))):
        bounds += [m * 10**exponent for m in (1, 2, 5) if m * 10**exponent <= limit]
    return tuple(bounds)


class Histogram:
    """Counts per bucket, count and sum; the text is made anew only after an observation."""

    __slots__ = ("_bounds", "_count_head", "_counts", "_heads", "_sum", "_sum_head", "_text")

    def __init__(self, name: str, labels: tuple[str, str], bounds: Sequence[float]) -> None:
        """`labels` are the rendered pairs that sort before and after `le`."""
        before, after = labels
        limits = [repr(float(bound)) for bound in bounds] + ["+Inf"]
        self._heads = [f'{name}_bucket{{{before},le="{limit}",{after}}} ' for limit in limits]
        self._count_head = f"{name}_count{{{before},{after}}} "
        self._sum_head = f"{name}_sum{{{before},{after}}} "
        self._bounds = tuple(bounds)
        self._counts = [0] * len(limits)
        self._sum = 0.0
        self._text = ""

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value` `times` times; a value on a bound belongs to that bound's bucket."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times
        self._text = ""

    def render(self) -> str:
        """Cumulative buckets, count and sum in the text format."""
        if not self._text:
            totals = list(accumulate(self._counts))
            lines = [f"{head}{total}.0\n" for head, total in zip(self._heads, totals, strict=True)]
            self._text = f"{''.join(lines)}{self._count_head}{totals[-1]}.0\n{self._sum_head}{self._sum!r}\n"
        return self._text
