import asyncio
import json
import logging
import math
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from endpoint_picker import aio
from endpoint_picker.config import strict
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.errors import ConfigError
from endpoint_picker.datalayer.discovery import (
    FileDiscovery,
    FileParameters,
    MulticlusterFileDiscovery,
    parse_endpoints_flag,
)
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.plugin import Wiring
from tests.fakes.engine import until


def listing(*names: str) -> str:
    entries = [
        f"- {{name: {name}, address: 10.0.0.{number}, port: 8000}}" for number, name in enumerate(names, 1)
    ]
    return "\n".join(["endpoints:", *entries]) + "\n" if names else "endpoints: []\n"


def found_in(path: Path, *, watch: bool = False) -> FileDiscovery:
    wiring = Wiring(EndpointTable(), Metrics())
    return FileDiscovery("pool", FileParameters(path=str(path), watch_file=watch), wiring)


def members(plugin: FileDiscovery) -> set[str]:
    return {endpoint.name for endpoint in plugin.wiring.table}


class Watched:
    """A discovery under watch, and how often it told of a change."""

    def __init__(self, plugin: FileDiscovery) -> None:
        self.plugin = plugin
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1

    async def becomes(self, *names: str) -> None:
        await until(lambda: members(self.plugin) == set(names))


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[Watched]:
    watched = Watched(found_in(path, watch=True))
    watched.plugin.load()
    tasks = aio.Tasks()
    tasks.start("watch", watched.plugin.watch(watched.changed, poll=0.005, settle=0.003))
    try:
        yield watched
    finally:
        await tasks.close()


async def some_looks() -> None:
    await asyncio.sleep(0.05)


# === loading ===


def test_a_yaml_file_fills_the_table(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a", "b"))
    change = found_in(path).load()
    assert [endpoint.host_port for endpoint in change.added] == ["10.0.0.1:8000", "10.0.0.2:8000"]


def test_a_json_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    path.write_text(
        json.dumps({"endpoints": [{"name": "a", "address": "fd00::1", "port": "80"}]}), "utf-8-sig"
    )
    plugin = found_in(path)
    plugin.load()
    assert members(plugin) == {"a"}


async def test_clusters_are_reached_by_the_names_of_their_gateways(tmp_path: Path) -> None:
    path = tmp_path / "clusters.yaml"
    text = "endpoints: [{name: east, address: gateway.east.example, port: 443}]"
    path.write_text(text)
    with pytest.raises(ConfigError, match="host name"):
        found_in(path).load()
    wiring = Wiring(EndpointTable(), Metrics())
    plugin = MulticlusterFileDiscovery("clusters", FileParameters(path=str(path)), wiring)
    (east,) = plugin.load().added
    assert east.host_port == "gateway.east.example:443"
    path.write_text(text.replace("east", "west"))
    assert await plugin._look(0.0)
    assert members(plugin) == {"west"}


def test_parameters_are_strict() -> None:
    with pytest.raises(ConfigError, match=r'"watchfile".*"watchFile"'):
        strict.decode({"path": "x", "watchfile": True}, FileParameters, where="c.yaml")
    with pytest.raises(ConfigError, match="path"):
        strict.decode({}, FileParameters, where="c.yaml")
    with pytest.raises(ConfigError, match="path: is empty"):
        strict.decode({"path": ""}, FileParameters, where="c.yaml")
    assert strict.decode({"path": "x"}, FileParameters, where="c.yaml").watch_file is False


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        found_in(tmp_path / "none.yaml").load()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"endpoints: [\n", "not valid YAML"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"", "not a mapping"),
        (b"endpoints: []\n" + b"#" * (1 << 20), "larger than 1 MiB"),
        (b"endpoints:\n- {name: a, address: 10.0.0.1, prot: 1}\n", 'did you mean "port"'),
    ],
)
def test_a_bad_file_ends_the_start(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "pool.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=text) as caught:
        found_in(path).load()
    assert str(path) in str(caught.value)


def test_a_file_of_exactly_one_mebibyte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    start = listing("a").encode()
    path.write_bytes(start + b"#" * ((1 << 20) - len(start)))
    plugin = found_in(path)
    plugin.load()
    assert members(plugin) == {"a"}


@pytest.mark.parametrize(
    ("kind", "why"), [("folder", "cannot be read"), ("pipe", "not a file"), ("null byte", "is no path")]
)
def test_what_is_no_file_is_refused_and_does_not_block(tmp_path: Path, kind: str, why: str) -> None:
    path = tmp_path / "odd"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path = Path(f"{path}\0")
    before = os.listdir("/dev/fd")
    with pytest.raises(ConfigError, match=why):
        found_in(path).load()
    assert os.listdir("/dev/fd") == before  # a poll that leaked would end the process some day


# === watching ===


async def test_an_edit_in_place_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a"))
    async with watching(path) as watched:
        path.write_text(listing("a", "b"))
        await watched.becomes("a", "b")
        await until(lambda: watched.changes == 1)


async def test_objectives_come_with_the_file_and_follow_it(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a") + "objectives: [{name: batch, priority: -1}]\n")
    async with watching(path) as watched:
        objectives = watched.plugin.wiring.table.objectives
        assert (objectives.priority("batch"), objectives.priority("chat")) == (-1, 0)
        path.write_text(listing("a") + "objectives: [{name: chat, priority: 5}]\n")
        await until(lambda: objectives.priority("chat") == 5)
        assert objectives.priority("batch") == 0


async def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a"))
    before = path.stat()
    async with watching(path) as watched:
        path.write_text(listing("b"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await watched.becomes("b")


async def test_an_atomic_rename_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a"))
    async with watching(path) as watched:
        fresh = tmp_path / "fresh"
        fresh.write_text(listing("b", "c"))
        fresh.replace(path)
        await watched.becomes("b", "c")


async def test_the_symlink_swap_of_a_config_map_is_seen(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "pool.yaml").write_text(listing(name))
    data, path = tmp_path / "..data", tmp_path / "pool.yaml"
    data.symlink_to("..0")
    path.symlink_to("..data/pool.yaml")
    async with watching(path) as watched:
        (tmp_path / "..tmp").symlink_to("..1")
        (tmp_path / "..tmp").replace(data)
        await watched.becomes("b")


async def test_a_file_that_goes_keeps_the_pool_and_one_that_comes_back_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a"))
    async with watching(path) as watched:
        path.unlink()
        await until(lambda: "cannot be read" in caplog.text)
        await some_looks()
        assert members(watched.plugin) == {"a"}
        assert caplog.text.count("cannot be read") == 1
        path.write_text(listing("b"))
        await watched.becomes("b")


async def test_a_bad_file_keeps_the_pool_and_is_logged_once_per_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a"))
    async with watching(path) as watched:
        for content in ("endpoints: {", "endpoints: 7", "endpoints: {"):
            before = len(caplog.records)
            path.write_text(content)
            await until(lambda before=before: len(caplog.records) > before)  # type: ignore[misc]
            path.write_text(content)
            await some_looks()
            assert len(caplog.records) == before + 1
        assert members(watched.plugin) == {"a"}
        assert watched.changes == 0


async def test_the_log_says_when_a_bad_file_is_good_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a"))
    async with watching(path):
        path.write_text("endpoints: 7")
        await until(lambda: "last good list" in caplog.text)
        path.write_text(listing("a"))
        await until(lambda: "is good again" in caplog.text)


async def test_a_file_that_is_still_being_written_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of a list is a valid list: it must never become the pool."""
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a", "b"))
    sizes: set[int] = set()
    async with watching(path) as watched:
        lines = listing(*"cdefghijklmnop").splitlines(keepends=True)
        with path.open("w") as file:
            for line in lines:
                file.write(line)
                file.flush()
                await asyncio.sleep(0.001)
                sizes.add(len(watched.plugin.wiring.table))
        await watched.becomes(*"cdefghijklmnop")
    assert sizes == {2}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_empty_list_empties_the_pool(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a"))
    async with watching(path) as watched:
        path.write_text(listing())
        await watched.becomes()


async def test_a_callback_that_raises_does_not_end_the_watch(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(listing("a"))
    plugin = found_in(path)
    plugin.load()

    def broken() -> None:
        raise RuntimeError("listener")

    tasks = aio.Tasks()
    tasks.start("watch", plugin.watch(broken, poll=0.005, settle=0.0))
    path.write_text(listing("b"))
    await until(lambda: members(plugin) == {"b"})
    path.write_text(listing("c"))
    await until(lambda: members(plugin) == {"c"})
    await tasks.close()


async def test_ranks_that_stay_keep_their_rows_through_a_change_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    entry = "endpoints: [{name: a, address: 10.0.0.1, targetPorts: [1, 2, 3, 4], activePorts: [%s]}]"
    path.write_text(entry % "1, 2, 3")
    async with watching(path) as watched:
        table = watched.plugin.wiring.table
        for row in table.live.tolist():
            table.waiting[row] = table[row].port
        path.write_text(entry % "4, 3, 2")
        await watched.becomes("a-rank-1", "a-rank-2", "a-rank-3")
        known = {table[row].name: table.waiting[row] for row in table.live.tolist()}
    assert (known["a-rank-1"], known["a-rank-2"]) == (2.0, 3.0)
    assert math.isnan(known["a-rank-3"])


# === the flag ===


def test_the_flag_takes_ipv4_and_ipv6() -> None:
    assert parse_endpoints_flag("127.0.0.1:8000, [fd00::1]:8001") == [
        Endpoint("127.0.0.1:8000", "127.0.0.1", 8000),
        Endpoint("[fd00::1]:8001", "fd00::1", 8001),
    ]


def test_a_range_of_ports_is_a_pod_with_a_rank_at_each() -> None:
    endpoints = parse_endpoints_flag("127.0.0.1:8000-8002,[fd00::1]:80-80,127.0.0.1:8003")
    assert [(each.name, each.host_port, each.pod, each.rank) for each in endpoints] == [
        ("127.0.0.1:8000-rank-0", "127.0.0.1:8000", "127.0.0.1:8000", 0),
        ("127.0.0.1:8000-rank-1", "127.0.0.1:8001", "127.0.0.1:8000", 1),
        ("127.0.0.1:8000-rank-2", "127.0.0.1:8002", "127.0.0.1:8000", 2),
        ("[fd00::1]:80-rank-0", "[fd00::1]:80", "[fd00::1]:80", 0),
        ("127.0.0.1:8003", "127.0.0.1:8003", "127.0.0.1:8003", None),
    ]


def test_the_flag_resolves_names_and_prefers_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for the resolver: what a machine answers for a name is not ours to rely on.
    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        assert host == "replica"
        return [
            (socket.AF_INET6, 1, 6, "", ("fd00::9", 0, 0, 0)),
            (socket.AF_INET, 1, 6, "", ("10.0.0.9", 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert parse_endpoints_flag("replica:8000") == [Endpoint("10.0.0.9:8000", "10.0.0.9", 8000)]


def test_the_flag_knows_localhost() -> None:
    (endpoint,) = parse_endpoints_flag("localhost:8000")
    assert endpoint.address in ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not host:port"),
        ("10.0.0.1", "not host:port"),
        ("10.0.0.1:8000,", "not host:port"),
        (":8000", "not host:port"),
        ("fd00::1:8000", "not host:port"),
        ("http://10.0.0.1:8000", "not host:port"),
        ("10.0.0.1:http", "not a port"),
        ("10.0.0.1:0", "not a port"),
        ("0.0.0.0:8000", "nothing can be sent"),
        ("[]:8000", "not host:port"),
        ("[fd00::zz]:8000", "cannot be resolved"),
        ("a" * 300 + ":80", "cannot be resolved"),
        ("10.0.0.1:80,10.0.0.1:80", "twice"),
        ("10.0.0.1:80-90,10.0.0.1:85", r"10\.0\.0\.1:85 is there twice"),
        ("10.0.0.1:90-80", "no range of 1 to 256 ports"),
        ("10.0.0.1:1-60000", "no range of 1 to 256 ports"),
        ("10.0.0.1:80-", "not a port"),
        ("10.0.0.1:-80", "not a port"),
        ("10.0.0.1:80-82-84", "not a port"),
    ],
)
def test_nonsense_in_the_flag_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"--endpoints.*{why}"):
        parse_endpoints_flag(text)
