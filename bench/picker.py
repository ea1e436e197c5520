"""The picker as a program of its own."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families

from bench.processes import Process, free_port, page

HEALTH: Final = "/grpc.health.v1.Health/Check"


class Picker:
    """`python -m endpoint_picker`, on ports that stay the same when it is started again."""

    def __init__(self, folder: Path, endpoints: Sequence[str], *flags: str) -> None:
        self.grpc_port, self.health_port, self.metrics_port = free_port(), free_port(), free_port()
        self._log = folder / "picker.log"
        self._flags = (
            f"--endpoints={','.join(endpoints)}",
            f"--grpc-port={self.grpc_port}",
            f"--grpc-health-port={self.health_port}",
            f"--metrics-port={self.metrics_port}",
            *flags,
        )
        self.process: Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self.process = Process((sys.executable, "-m", "endpoint_picker", *self._flags), self._log)
        await self.process.until(self.ready)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def output(self) -> str:
        return self.process.output() if self.process is not None else ""

    async def sum_of(self, family: str, **labels: str) -> float:
        """Sum over all series of a gauge or counter with these labels; 0 where there is none."""
        return total(await page(f"http://127.0.0.1:{self.metrics_port}/metrics"), family, **labels)

    async def ready(self) -> bool:
        """Whether its health port says that it takes requests."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.health_port}") as channel:
            check = channel.unary_unary(
                HEALTH,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = await check(health_pb2.HealthCheckRequest(service="readiness"), timeout=2.0)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def total(text: str, family: str, **labels: str) -> float:
    """The same of a metrics page."""
    # The parser takes a tenth of a second for a whole page.
    lines = "".join(f"{line}\n" for line in text.splitlines() if line.startswith(family))
    samples = (sample for metric in text_string_to_metric_families(lines) for sample in metric.samples)
    found = (each.value for each in samples if each.name == family and labels.items() <= each.labels.items())
    return float(sum(found))
