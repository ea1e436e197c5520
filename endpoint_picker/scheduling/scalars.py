"""How a configuration names a further fact about endpoints, and who wrote it."""

from typing import Final

DEFAULT_PRODUCER: Final = "core-metrics-extractor"


def producer_of(key: str, attribute: str, producer: str | None) -> str:
    """Who wrote the attribute: the default where nobody is named, "" for anybody.

    `key` is the parameter that names the attribute. Raises ValueError.
    """
    if not attribute:
        raise ValueError(f"{key} is empty; name the attribute to look at")
    if producer is None and "/" in attribute:
        raise ValueError(
            f"{key} is {attribute}; where it contains a slash, name who writes it in producer "
            '("" for anybody), and leave that name out of it'
        )
    return DEFAULT_PRODUCER if producer is None else producer
