"""A submitted job's outcome onto the wire: whole, or token by token as the engine makes them."""

from aiohttp import web

from bench.simulator.bodies import Dialect, encode
from bench.simulator.jobs import Job
from bench.simulator.replica import Replica

_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8"}


def json_response(payload: object, status: int = 200) -> web.Response:
    """A JSON body without the blanks that the standard encoder puts in."""
    return web.Response(body=encode(payload), status=status, content_type="application/json")


async def answer(
    request: web.Request, replica: Replica, job: Job, dialect: Dialect, *, stream: bool
) -> web.StreamResponse:
    """Run a job to its end; when the client goes away first, its sequences leave the engine."""
    try:
        for choice in job.choices:
            replica.submit(choice.ticket)
        if stream:
            return await _stream(request, job, dialect)
        await settle(job)
        return json_response(dialect.body())
    finally:
        for choice in job.choices:
            replica.abort(choice.ticket)


async def settle(job: Job) -> None:
    """Wait for the end of all choices."""
    while not all(choice.ticket.finished for choice in job.choices):
        await job.changed.wait()
        job.changed.clear()


async def _stream(request: web.Request, job: Job, dialect: Dialect) -> web.StreamResponse:
    """Send the tokens that are new at each wake-up in one write."""
    response = web.StreamResponse(headers=_STREAM_HEADERS)
    await response.prepare(request)
    sent = [0] * len(job.choices)
    total, done = job.output_tokens, 0
    while done < total:
        await job.changed.wait()
        job.changed.clear()
        parts = [] if done else [dialect.opening()]
        for index, choice in enumerate(job.choices):
            ready = choice.ticket.ready
            parts += [dialect.token(index, number) for number in range(sent[index], ready)]
            done += ready - sent[index]
            sent[index] = ready
        if done == total:
            parts.append(dialect.closing())
        await response.write(b"".join(parts))
    await response.write_eof()
    return response
