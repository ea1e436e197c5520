"""The demo ends what it started, whatever ends it."""

import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from bench.processes import Process, page

IN_FOLDER = """
import pathlib, sys
from bench import demo
demo.FOLDER = pathlib.Path(sys.argv.pop())
sys.exit(demo.main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_demo_that_is_broken_off_leaves_nothing_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "demo"
    demo = Process((sys.executable, "-c", IN_FOLDER, str(folder)), tmp_path / "demo.log")
    try:
        places = await _programs(demo, folder / "round-robin")
        assert [await _answers(place) for place in places] == [True, True]
        demo.signal(number)
        assert await demo.wait() == 130, demo.output()
        assert [await _answers(place) for place in places] == [False, False]
    finally:
        demo.kill()


async def _programs(demo: Process, folder: Path) -> list[str]:
    """Pages of a replica and of Envoy, once both are there."""
    admin, replicas = folder / "envoy-admin.txt", folder / "replicas.log"

    async def up() -> bool:
        return admin.exists() and await _answers(f"http://{admin.read_text()}/ready")

    await demo.until(up)
    return [f"http://{replicas.read_text().split()[1]}/metrics", f"http://{admin.read_text()}/ready"]


async def _answers(url: str) -> bool:
    try:
        return bool(await page(url))
    except (OSError, aiohttp.ClientError):
        return False
