"""A simulated vLLM replica: an engine model in virtual time, and an HTTP server around it.

    tokenizer   text ⇄ token ids, chat template
    blocks      paged KV cache: chained block hashes, reference counts, LRU eviction
    sequence    one generation and where it stands
    engine      continuous batching: which tokens a step computes, and how long that takes
    replica     drives one engine on the wall clock and hands tokens to waiting requests
    telemetry   what a step means for counters and histograms
    histogram   one Prometheus histogram that is cheap to fill and to print
    exposition  the text of /metrics
    requests    bodies → jobs, or the refusal that vLLM would send
    openai, messages, openresponses, plain   jobs → bodies and stream events, one dialect each
    streaming   one job's events onto one HTTP response
    server      the routes
    running     servers up for as long as a block lasts

The engine alone knows nothing of time or I/O, so that a fleet of thousands can be driven by one loop.
"""
