"""Log lines for people and for machines: set up once by the command line, plain `logging` everywhere else.

A record is one line on standard error. What a client or a replica sends can end up in a message, so line
breaks are written as `\\n`: nobody forges a line. `Sparse` is for messages that a broken peer could cause
a thousand times a second.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from endpoint_picker.core.errors import ConfigError

Encoder = Literal["json", "console"]

VERBOSE: Final = 15
"""Level of `-v 3`: between the standard library's INFO and DEBUG."""
TRACE: Final = 5
"""Level of `-v 5`: below DEBUG."""
LEVELS: Final = (logging.ERROR, logging.WARNING, logging.INFO, VERBOSE, logging.DEBUG, TRACE)
"""Level by verbosity; larger numbers mean the last one."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record carries; the rest of its attributes came with `extra`."""


def configure(verbosity: int = 2, encoder: str = "console") -> None:
    """Send all log records of this level and above to standard error; a second call replaces the first.

    Raises ConfigError when there is no such encoder.
    """
    if encoder not in get_args(Encoder):
        raise ConfigError(
            f"log encoder {encoder!r} is not known: choose one of {', '.join(get_args(Encoder))}"
        )
    logging.addLevelName(VERBOSE, "VERBOSE")
    logging.addLevelName(TRACE, "TRACE")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if encoder == "json" else Console())
    logging.basicConfig(level=LEVELS[min(max(verbosity, 0), len(LEVELS) - 1)], handlers=[handler], force=True)


class Json(logging.Formatter):
    """One JSON object a line: `ts`, `level`, `logger`, `msg`, then the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        for name, value in _extra(record).items():
            fields.setdefault(name, value)
        if record.exc_info:
            fields["stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=repr, skipkeys=True)


class Console(logging.Formatter):
    """Time, level, logger, message, `name=value` of extra fields; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={value!r}" for name, value in _extra(record).items())
        text = f"{record.levelname:<7} {record.name}: {record.getMessage()}{extra}"
        line = f"{_timestamp(record)} {_one_line(text)}"
        if not record.exc_info:
            return line
        # Indented, so that a line that starts with a time is always a record.
        trace = self.formatException(record.exc_info).split("\n")
        return "\n".join([line, *(f"    {_one_line(part)}" for part in trace)])


class Sparse:
    """Logs a message of one kind at most once in a while, and says then how many were left out.

    Kinds are told apart by a key. When more keys are in use than can be remembered, the new ones share
    one turn, so neither the memory nor the log can be filled by making up keys.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        every: float = 60.0,
        most_keys: int = 256,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._every = every
        self._most_keys = most_keys
        self._clock = clock
        self._turns: dict[str, _Turn] = {}
        """Ordered by time: a turn that is over goes to the end with the next message."""
        self._others = _Turn(-float("inf"))

    def warning(self, key: str, message: str, *args: object) -> None:
        self._log(logging.WARNING, key, message, *args)

    def error(self, key: str, message: str, *args: object) -> None:
        self._log(logging.ERROR, key, message, *args)

    def exception(self, key: str, message: str, *args: object) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, key, message, *args, exc_info=True)

    def _log(self, level: int, key: str, message: str, *args: object, exc_info: bool = False) -> None:
        """Log now, or count it for the next time that this key has its turn."""
        if not self._logger.isEnabledFor(level):
            return
        now = self._clock()
        turn = self._turn(key, now)
        if now - turn.taken_at < self._every:
            turn.left_out += 1
            return
        if turn.left_out:
            # Without arguments logging takes a message as it is: a percent sign in it must survive ours.
            message = message if args else message.replace("%", "%%")
            message, args = f"{message} (and %d more like it)", (*args, turn.left_out)
        turn.taken_at, turn.left_out = now, 0
        self._logger.log(level, message, *args, exc_info=exc_info, stacklevel=3)

    def _turn(self, key: str, now: float) -> "_Turn":
        found = self._turns.get(key)
        if found is None:
            self._forget(now)
            if len(self._turns) >= self._most_keys:
                return self._others
            found = _Turn(-float("inf"))
        elif now - found.taken_at >= self._every:
            del self._turns[key]
        self._turns[key] = found
        return found

    def _forget(self, now: float) -> None:
        """Drop the oldest turns that are over, but only when the room is needed."""
        while len(self._turns) >= self._most_keys:
            oldest = next(iter(self._turns))
            if now - self._turns[oldest].taken_at < self._every:
                return
            del self._turns[oldest]


class _Turn:
    """When a kind of message was last logged, and how many were left out since."""

    __slots__ = ("left_out", "taken_at")

    def __init__(self, taken_at: float) -> None:
        self.taken_at = taken_at
        self.left_out = 0


def _timestamp(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _one_line(text: str) -> str:
    """The text with line breaks, control characters and lone surrogates escaped."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)
