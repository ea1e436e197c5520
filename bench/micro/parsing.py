"""Parsing: bodies of requests into payloads, answers into usage, metrics pages into gauges."""

import json
from functools import partial

from bench.figures import Figure
from bench.micro.timing import Pace, cost, figure
from bench.samples import answers
from bench.samples.page import MODEL, pages
from bench.samples.prompts import SIZES, Bodies
from endpoint_picker.core.endpoints import Endpoint, EndpointTable
from endpoint_picker.core.request import Usage
from endpoint_picker.datalayer.extract import CoreMetricsExtractor, ExtractorParameters
from endpoint_picker.observability.metrics import Metrics
from endpoint_picker.parsing.anthropic import Anthropic
from endpoint_picker.parsing.openai import OpenAI
from endpoint_picker.parsing.rewrite import ModelNameRestorer
from endpoint_picker.plugin import Parser, Wiring

SEED = 5
EVENTS = 100
"""Of a stream, from its first token to its usage."""


def figures(pace: Pace) -> list[Figure]:
    """Requests, answers, pages."""
    wiring = Wiring(EndpointTable(), Metrics())
    return [*requests(wiring, pace), *responses(wiring, pace), *metrics(wiring, pace)]


def requests(wiring: Wiring, pace: Pace) -> list[Figure]:
    """Each dialect and size."""
    found = []
    openai, anthropic = OpenAI("o", None, wiring), Anthropic("a", None, wiring)
    for kind, size in SIZES.items():
        chat = Bodies(kind, SEED).next()
        text = json.loads(chat)["messages"][0]["content"].ljust(size.text, "x")
        completion = json.dumps({"model": MODEL, "prompt": text, "max_tokens": 64}).encode()
        cases: dict[str, tuple[Parser, str, bytes]] = {
            "chat": (openai, "/v1/chat/completions", chat),
            "completion": (openai, "/v1/completions", completion),
            "messages": (anthropic, "/v1/messages", chat),
        }
        for name, (parser, path, body) in cases.items():
            label = f"parse {name}, {len(body) // 1000} KB"
            found.append(figure(f"parse_{name}_{kind}", label, cost(partial(parser.parse, path, body), pace)))
        rewrite = cost(partial(openai.rewrite, chat, "another-model"), pace)
        found.append(figure(f"rewrite_{kind}", f"rewrite the model, {len(chat) // 1000} KB", rewrite))
    return found


def responses(wiring: Wiring, pace: Pace) -> list[Figure]:
    """Usage of a document, and a stream's cost for each of its events."""
    openai = OpenAI("o", None, wiring)

    def document() -> Usage:
        reader = openai.usage(streaming=False)
        reader.feed(answers.DOCUMENT)
        return reader.finish()

    def stream() -> Usage:
        reader = openai.usage(streaming=True)
        for _ in range(EVENTS - len(answers.LAST)):
            reader.feed(answers.TOKEN)
        for event in answers.LAST:
            reader.feed(event)
        return reader.finish()

    restorer = ModelNameRestorer(MODEL, "the-name-that-clients-use")
    events = [micros / EVENTS for micros in cost(stream, pace)]
    return [
        figure("usage_document", "usage of a JSON answer", cost(document, pace)),
        figure("usage_event", f"usage of a stream, one of {EVENTS} events", events),
        figure(
            "restore_event",
            "restore the model name, one event",
            cost(partial(restorer.feed, answers.TOKEN), pace),
        ),
    ]


def metrics(wiring: Wiring, pace: Pace) -> list[Figure]:
    """What the picker takes from a replica's page."""
    page = pages(1, SEED, busy=True)[0]
    extractor = CoreMetricsExtractor("e", ExtractorParameters(), wiring)
    wiring.table.replace([Endpoint("e", "10.0.0.1", 8000)])
    micros = cost(partial(extractor.extract, page, 0), pace)
    return [figure("page", f"read a metrics page of {len(page) // 1000} KB", micros)]
