"""Who may be sent a prompt."""

from pathlib import Path

import pytest

from endpoint_picker import aio
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.sidecar import sources, targets
from endpoint_picker.sidecar.allow import AllowList, Entries
from tests.fakes.engine import until


def allowed(*flags: str) -> AllowList:
    return AllowList(sources.read(flags, {}).options)


def allows(entries: AllowList, text: str) -> bool:
    target = targets.read(text)
    assert target is not None
    return entries.allows(target)


ENTRIES = "--allowed-prefillers=Prefill-0,10.0.0.7:8000,10.1.0.0/16,fd00::/8,[fc00::1]:80,fc00::2"


@pytest.mark.parametrize(
    "text",
    [
        "prefill-0:1",
        "PREFILL-0:2",
        "10.0.0.7:8000",
        "10.1.2.3:9",
        "[fd12::1]:9",
        "[fc00::1]:80",
        "[fc00::2]:1",
    ],
)
def test_what_is_named_is_allowed(text: str) -> None:
    assert allows(allowed(ENTRIES), text)


@pytest.mark.parametrize(
    "text", ["prefill-01:1", "10.0.0.7:8001", "10.2.0.1:8000", "[fc00::1]:81", "localhost:8000"]
)
def test_nothing_else_is(text: str) -> None:
    assert not allows(allowed(ENTRIES), text)
    assert not allows(allowed(), text)


def test_everything_can_be() -> None:
    assert allows(allowed("--allow-any-prefiller"), "169.254.169.254:80")


@pytest.mark.parametrize("text", ["10.0.0.0/33", "a b", "a:b", "http://", "10.0.0:1"])
def test_an_entry_that_is_none_ends_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match="neither a host"):
        Entries([text], "--allowed-prefillers")


LISTS = {
    "lines": "# ours\n10.0.0.7:8000  # the first\n\nprefill-0\n",
    "yaml": "endpoints:\n- {name: a, address: 10.0.0.7, port: 8000}\n- {name: b, address: fd00::1, port: 1}",
    "json": '{"objectives": [], "endpoints": [{"name": "a", "address": "10.0.0.7", "port": 8000}]}',
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_file_is_a_list_or_an_endpoints_file(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "allowed"
    file.write_text(LISTS[kind])
    entries = allowed(f"--allowed-prefillers-file={file}")
    assert allows(entries, "10.0.0.7:8000")
    assert not allows(entries, "10.0.0.7:8001")


def test_a_file_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        allowed(f"--allowed-prefillers-file={tmp_path / 'none'}")


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "allowed"
    file.write_text("10.0.0.7:8000\n")
    entries = allowed(f"--allowed-prefillers-file={file}", "--allowed-prefillers=prefill-9")
    tasks = aio.Tasks()
    tasks.start("watch", entries.watch(poll=0.001, settle=0.01))
    file.write_text("10.0.0.8:8000\n")
    await until(lambda: allows(entries, "10.0.0.8:8000"))
    assert not allows(entries, "10.0.0.7:8000")
    file.write_text("no host\n")
    await until(lambda: "the last good list of 1 entries stays" in caplog.text)
    assert allows(entries, "10.0.0.8:8000")
    assert allows(entries, "prefill-9:1")
    await tasks.close()
