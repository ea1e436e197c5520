"""A submitted job's outcome onto the wire: whole, or token by token as the engine makes them."""

import contextlib
from collections.abc import Iterator

from aiohttp import web

from bench.simulator.bodies import Dialect, encode
from bench.simulator.jobs import Job
from bench.simulator.replica import Replica
from bench.simulator.requests import Refused

_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8"}


def json_response(payload: object, status: int = 200) -> web.Response:
    """A JSON body without the blanks that the standard encoder puts in."""
    return web.Response(body=encode(payload), status=status, content_type="application/json")


async def answer(
    request: web.Request, replica: Replica, job: Job, dialect: Dialect, *, stream: bool
) -> web.StreamResponse:
    """Run a job to its end; when the client goes away first, its sequences leave the engine."""
    if not stream:
        await run(replica, job)
        return json_response(dialect.body())
    with _submitted(replica, job):
        return await _stream(request, job, dialect)


async def run(replica: Replica, job: Job) -> None:
    """Wait for the end of all choices; Refused when one of them failed."""
    with _submitted(replica, job):
        while not job.failure and not all(choice.ticket.finished for choice in job.choices):
            await job.changed.wait()
            job.changed.clear()
    if job.failure:
        raise _failed(job)


@contextlib.contextmanager
def _submitted(replica: Replica, job: Job) -> Iterator[None]:
    """The job's sequences are in the engine; those that have not ended with the block leave it."""
    try:
        for choice in job.choices:
            replica.submit(choice.ticket)
        yield
    finally:
        for choice in job.choices:
            replica.abort(choice.ticket)


def _failed(job: Job) -> Refused:
    return Refused(500, "InternalServerError", job.failure)


async def _stream(request: web.Request, job: Job, dialect: Dialect) -> web.StreamResponse:
    """Send the tokens that are new at each wake-up in one write."""
    response = web.StreamResponse(headers=_STREAM_HEADERS)
    await response.prepare(request)
    sent = [0] * len(job.choices)
    total, done, failed = job.output_tokens, 0, False
    while done < total and not failed:
        await job.changed.wait()
        job.changed.clear()
        parts = [] if done else [dialect.opening()]
        for index, choice in enumerate(job.choices):
            ready = choice.ticket.ready
            parts += [dialect.token(index, number) for number in range(sent[index], ready)]
            done += ready - sent[index]
            sent[index] = ready
        failed = bool(job.failure)
        if failed:
            parts.append(dialect.failing(_failed(job)))
        elif done == total:
            parts.append(dialect.closing())
        await response.write(b"".join(parts))
    await response.write_eof()
    return response
