"""What one phase of a demo runs on: simulated replicas, the picker, sidecars and Envoy, as programs."""

import contextlib
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import envoys
from bench.overhead.meter import cpu_seconds
from bench.picker import Picker
from bench.processes import Process, free_port, page
from bench.replay import Replay
from bench.traffic import Session, Shape

MODEL: Final = "demo-model"
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Stack:
    """What a phase runs on."""

    url: str
    replicas: tuple[str, ...]
    """Addresses (`ip:port`) of the replicas."""
    metrics: str | None
    """The picker's metrics page; None where there is no picker."""
    pids: tuple[int, ...] = ()
    """Of the picker and the sidecars: what routing costs is their CPU time."""


class Programs:
    """Starts programs that write to one folder, and ends all of them with the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pids: list[int] = []
        """Of the picker and the sidecars."""
        self._scope = contextlib.ExitStack()

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        self._scope.close()

    async def replicas(self, count: int, *options: str, log: str = "replicas.log") -> list[str]:
        """Simulated replicas in one process; answers their addresses."""
        command = (sys.executable, "-m", "bench.simulator", "--replicas", str(count), "--port", "0")
        fleet = Process((*command, "--model", MODEL, "--seed", str(SEED), *options), self.folder / log)
        self._scope.callback(fleet.stop)
        return [line.split()[1] for line in await fleet.says("listening ", count)]

    async def sidecar(self, engine: str, number: int) -> str:
        """The proxy of a decode replica, which listens where this says."""
        port = free_port()
        command = (sys.executable, "-m", "endpoint_picker", "sidecar", "--port", str(port))
        options = ("--model-server-port", engine.rpartition(":")[2], "--secure-proxy=false")
        proxy = Process(
            (*command, *options, "--allow-any-prefiller", "--drain-timeout=0s"),
            self.folder / f"sidecar-{number}.log",
        )
        self._scope.callback(proxy.stop)

        async def up() -> bool:
            try:
                return await page(f"http://127.0.0.1:{port}/health") == ""
            except OSError:
                return False

        await proxy.until(up)
        self.pids.append(proxy.pid)
        return f"127.0.0.1:{port}"

    async def picker(self, endpoints: Sequence[str], *flags: str) -> Picker:
        """The picker of these endpoints, or of those that its configuration names."""
        usual = ("--secure-serving=false", "--drain-timeout=0", f"--seed={SEED}")
        picker = Picker(self.folder, endpoints, *usual, *flags)
        self._scope.callback(picker.stop)
        await picker.start()
        assert picker.process is not None
        self.pids.append(picker.process.pid)
        return picker

    async def envoy(self, config: envoys.Config) -> str:
        """Envoy; answers its address as clients know it."""
        envoy = envoys.Envoy(self.folder, config)
        self._scope.callback(envoy.process.stop)
        await envoy.start()
        return f"http://127.0.0.1:{envoy.port}"


@contextlib.asynccontextmanager
async def folder_of(parent: Path, name: str) -> AsyncIterator[Programs]:
    """Programs that write to a folder of this name, which is emptied before."""
    folder = parent / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Programs(folder) as programs:
        yield programs


async def behind(programs: Programs, picker: Picker, places: Sequence[str], replicas: Sequence[str]) -> Stack:
    """Envoy in front of these places, asking the picker; the replicas may stand behind them."""
    config = envoys.relocated(envoys.load("standalone"), picker.grpc_port, places)
    metrics = f"http://127.0.0.1:{picker.metrics_port}/metrics"
    return Stack(await programs.envoy(config), tuple(replicas), metrics, tuple(programs.pids))


async def phase(
    name: str, chats: Sequence[Session], shape: Shape, console: Console, ground: Stack
) -> dict[str, Any]:
    """Replay the chats; answers the figures."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=shape.sessions * shape.turns)
        before = sum(map(cpu_seconds, ground.pids))
        replay = Replay(ground.url, MODEL, shape.answer_tokens, lambda: progress.advance(task))
        outcome = await replay.run(chats)
        routing = sum(map(cpu_seconds, ground.pids)) - before
    for complaint, times in outcome.complaints.items():
        console.print(f"  {times} times {complaint}", style="red")
    return outcome.summary() | {
        "routing_cpu_ms": round(routing / max(1, outcome.requests) * 1e3, 2),
        "requests_per_replica": [await _served(each) for each in ground.replicas],
    }


async def _served(replica: str) -> int:
    """Requests that a replica has finished, by its own count."""
    lines = (await page(f"http://{replica}/metrics")).splitlines()
    counts = [line.rpartition(" ")[2] for line in lines if line.startswith("vllm:request_success_total")]
    return round(sum(map(float, counts)))
