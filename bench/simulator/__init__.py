"""A simulated vLLM replica: an engine model in virtual time, and an HTTP server around it.

    tokenizer   text ⇄ token ids, chat template
    blocks      paged KV cache: chained block hashes, reference counts, LRU eviction
    sequence    one generation and where it stands
    holdings    the blocks of one sequence
    batch       the sequences that compute, and what a step does to them
    transfers   the sequences that have blocks and do not compute: another engine shares the work
    engine      continuous batching: which tokens a step computes, and how long that takes
    clock       virtual time on the wall clock
    tickets     what a request learns about its sequence
    nixl        the words of the exchange between prefill and decode replicas
    leases      what a prefill replica keeps, and until when
    sidechannel how engines of any process talk about it
    connector   one engine's part in the exchange
    replica     drives one engine on the wall clock and hands tokens to waiting requests
    ranks       the engines behind one port, and which serves a request
    telemetry   what a step means for counters and histograms
    histogram   one Prometheus histogram that is cheap to fill and to print
    families    which gauges and counters there are
    exposition  the text of /metrics
    requests    bodies → jobs, or the refusal that vLLM would send
    openai, messages, openresponses, plain   jobs → bodies and stream events, one dialect each
    streaming   one job's events onto one HTTP response
    generating  the routes that generate
    server      all routes
    running     servers up for as long as a block lasts
    flags       of the command
    fleet       flags → one configuration for each port

The engine, all up to `transfers` and the leases know nothing of time or I/O, so that a fleet of thousands can
be driven by one loop.
"""
