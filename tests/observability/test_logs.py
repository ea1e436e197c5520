"""Log lines as a collector reads them, and messages that a broken peer cannot multiply."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_picker.core.errors import ConfigError
from endpoint_picker.observability import logs


class Written:
    """Lines on standard error since the last look."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def lines(self) -> list[str]:
        return self._capsys.readouterr().err.splitlines()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """What `configure` makes of records; the root logger is put back afterwards."""
    root = logging.getLogger()
    level = root.level
    yield Written(capsys)
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, logs.Json | logs.Console):
            root.removeHandler(handler)
    root.setLevel(level)


def test_json_record_is_one_object(stderr: Written) -> None:
    logs.configure(2, "json")
    logging.getLogger("epp.test").info("took %d ms", 7, extra={"endpoint": "pod-1", "rows": {1}})
    (record,) = stderr.records()
    assert record.pop("ts")[10] == "T"
    assert record == {
        "level": "info",
        "logger": "epp.test",
        "msg": "took 7 ms",
        "endpoint": "pod-1",
        "rows": "{1}",
    }


def test_json_traceback_stays_on_the_line(stderr: Written) -> None:
    logs.configure(2, "json")
    _fail(logging.getLogger("epp.test"))
    (record,) = stderr.records()
    assert record["level"] == "error"
    assert record["stacktrace"].endswith("ValueError: bad\nvalue\x1b[2J")


def test_console_traceback_is_indented(stderr: Written) -> None:
    logs.configure(2, "console")
    _fail(logging.getLogger("epp.test"))
    first, *trace = stderr.lines()
    assert first.endswith("ERROR   epp.test: it broke")
    assert trace[-2:] == ["    ValueError: bad", "    value\\x1b[2J"]
    assert all(line.startswith("    ") for line in trace)


def _fail(log: logging.Logger) -> None:
    try:
        raise ValueError("bad\nvalue\x1b[2J")
    except ValueError:
        log.exception("it broke")


def test_extra_fields_cannot_replace_the_records_own(stderr: Written) -> None:
    logs.configure(2, "json")
    logging.getLogger("epp.test").info("true", extra={"level": "forged", "logger": "forged"})
    (record,) = stderr.records()
    assert (record["level"], record["logger"]) == ("info", "epp.test")


@pytest.mark.parametrize("encoder", ["json", "console"])
@given(text=st.text(alphabet=st.characters(exclude_categories=()), max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_message_makes_a_second_line(encoder: str, text: str) -> None:
    formatter = logs.Json() if encoder == "json" else logs.Console()
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "name": "epp", "client": text})
    line = formatter.format(record)
    assert line.isprintable()
    if encoder == "json":
        assert json.loads(line)["msg"] == text
    else:
        line.encode()


@pytest.mark.parametrize(
    ("verbosity", "silent", "heard"),
    [
        (-1, logging.WARNING, logging.ERROR),
        (1, logging.INFO, logging.WARNING),
        (2, logs.VERBOSE, logging.INFO),
        (3, logging.DEBUG, logs.VERBOSE),
        (4, logs.TRACE, logging.DEBUG),
        (5, 1, logs.TRACE),
        (99, 1, logs.TRACE),
    ],
)
def test_verbosity_sets_the_level(stderr: Written, verbosity: int, silent: int, heard: int) -> None:
    logs.configure(verbosity, "json")
    log = logging.getLogger("epp.test")
    log.log(silent, "silent")
    log.log(heard, "heard")
    assert [record["msg"] for record in stderr.records()] == ["heard"]


def test_own_levels_have_names(stderr: Written) -> None:
    logs.configure(5, "json")
    logging.getLogger("epp.test").log(logs.VERBOSE, "a")
    logging.getLogger("epp.test").log(logs.TRACE, "b")
    assert [record["level"] for record in stderr.records()] == ["verbose", "trace"]


def test_second_configuration_replaces_the_first(stderr: Written) -> None:
    logs.configure(2, "json")
    logs.configure(2, "console")
    logging.getLogger("epp.test").info("once")
    assert len(stderr.lines()) == 1


def test_unknown_encoder_is_refused_with_the_choices(stderr: Written) -> None:
    with pytest.raises(ConfigError, match="'xml' is not known: choose one of json, console"):
        logs.configure(2, "xml")


# === sparse ===


class Desk:
    """A sparse logger, its clock, and what came out."""

    def __init__(self, caplog: pytest.LogCaptureFixture, *, most_keys: int = 256) -> None:
        self.now = 0.0
        self._caplog = caplog
        logger = logging.getLogger("epp.sparse")
        self.sparse = logs.Sparse(logger, every=60.0, most_keys=most_keys, clock=lambda: self.now)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records]


def test_repeats_are_counted_instead_of_logged(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(caplog)
    for _ in range(5):
        desk.sparse.warning("a", "bad %s", "frame")
    assert desk.lines == ["bad frame"]
    desk.now = 60.0
    desk.sparse.warning("a", "bad %s", "header")
    desk.now = 120.0
    desk.sparse.warning("a", "bad %s", "trailer")
    assert desk.lines == ["bad frame", "bad header (and 4 more like it)", "bad trailer"]


def test_percent_signs_survive_the_count(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(caplog)
    for desk.now in (0.0, 1.0, 61.0):
        desk.sparse.error("a", "100% wrong")
    assert desk.lines == ["100% wrong", "100% wrong (and 1 more like it)"]


def test_keys_have_turns_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(caplog)
    desk.sparse.warning("a", "one")
    desk.sparse.warning("b", "two")
    assert desk.lines == ["one", "two"]


def test_made_up_keys_fill_neither_memory_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(caplog, most_keys=10)
    for n in range(1000):
        desk.sparse.warning(f"key-{n}", "message %d", n)
    assert len(desk.lines) == 11
    desk.now = 60.0
    desk.sparse.warning("key-0", "again")
    desk.sparse.warning("fresh", "new")
    assert desk.lines[11:] == ["again", "new"]


def test_exception_carries_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(caplog)
    try:
        raise ValueError("bad")
    except ValueError:
        desk.sparse.exception("plugin", "plugin %s failed", "x")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.funcName == "test_exception_carries_its_traceback"


def test_messages_below_the_level_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(caplog)
    with caplog.at_level(logging.ERROR, "epp.sparse"):
        desk.sparse.warning("a", "unheard")
    desk.sparse.warning("a", "heard")
    assert desk.lines == ["heard"]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), max_size=80))
@settings(max_examples=40, deadline=None)
def test_lines_are_bounded_in_any_interval(events: list[tuple[int, int]]) -> None:
    """One line for each key that is remembered, and one for all others together."""
    now, written, times = 0.0, io.StringIO(), []
    logger = logging.Logger("epp.bounded")
    logger.addHandler(logging.StreamHandler(written))
    sparse = logs.Sparse(logger, every=60.0, most_keys=4, clock=lambda: now)
    for wait, key in events:
        now += wait
        before = written.tell()
        sparse.warning(str(key), "x")
        times += [now] if written.tell() > before else []
    for start in times:
        assert sum(start <= at < start + 60.0 for at in times) <= 4 + 1
