"""The program, as an operator meets it."""

import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from bench.processes import Process
from tests.fakes.vllm import Vllm

LISTENS = "serving HTTP on "


def port_of(process: Process) -> int:
    """The port that it says it listens on; 0: it says nothing yet."""
    _, found, rest = process.output().partition(LISTENS)
    return int(rest.split(" ")[0]) if found else 0


@pytest.mark.parametrize(
    "program",
    [
        ("-m", "endpoint_picker", "sidecar"),
        ("-c", "from endpoint_picker.sidecar.command import main; main()"),
    ],
)
async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, program: tuple[str, ...]) -> None:
    async with Vllm() as engine, aiohttp.ClientSession() as client:
        flags = ("--port=0", "--secure-proxy=false", f"--model-server-port={engine.port}", "--tracing")
        process = Process((sys.executable, *program, *flags), tmp_path / "log")

        async def listens() -> bool:
            return port_of(process) > 0

        try:
            await process.until(listens)
            url = f"http://127.0.0.1:{port_of(process)}/v1/completions"
            async with client.post(url, json={"prompt": "p"}) as answer:
                assert answer.status == 200
            process.signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            process.kill()
        assert "--tracing has no effect" in process.output()
        assert "SIGTERM: draining for at most 60 s, 0 requests open" in process.output()
        assert "stopped" in process.output()


async def test_what_is_wrong_is_told_without_a_traceback(tmp_path: Path) -> None:
    process = Process((sys.executable, "-m", "endpoint_picker", "sidecar", "--prot=1"), tmp_path / "log")
    assert await process.wait() == 1
    assert process.output().strip() == (
        'endpoint-picker sidecar: unknown argument --prot=1; did you mean "--port"?'
    )
