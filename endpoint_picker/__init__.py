"""An Endpoint Picker: Envoy asks over ext_proc, we answer which replica serves the request.

The life of a request, and where each step lives:

 1. Envoy opens a gRPC stream and sends the headers, the body and its body modes  `transport`
 2. bytes become messages; the state machine waits for what the mode asks for     `extproc.codec`, `.stream`
 3. the director takes headers and body: one request, one exchange                `director`, `exchange`
 4. the path names a parser, the parser reads model, prompts and limits           `parsing`
 5. the pool, less what the subset hint, failures or a screener rule out          `core`, `admission`
 6. producers write facts: tokens, cached prefix, load in flight                  `producers`, `kvindex`
 7. who may not go now is refused                                                 `admission`
 8. a profile filters, scores and picks                                           `scheduling`
 9. the pick is booked before the answer leaves                                   `charges`, `core.ledger`
    where the picker itself has the prompt computed elsewhere, the answer waits  `inline_prefills`
10. destination in header and metadata, the body echoed in pieces                 `extproc.requests`
11. the response passes: first token, usage, end; the books are settled           `extproc.responses`

Beside it the data layer keeps the endpoint table true: `datalayer` (discovery, scraping). Two flows, which
meet in the table and in the prefix index and nowhere else.

The rooms, from the top; each imports only rooms below it (`make check` proves it):

    cli            flags, and the command that is named
    testing        for tests of plugins: pools, requests, the laws; nothing that serves imports it
    app            the composition root: builds, serves, drains
    commands       check a configuration, list the plugins
    extproc        the conversation with Envoy
    assemble       configuration + catalog → wired plugins
    sidecar        the proxy in a decode pod that has prompts computed elsewhere: a program of its own
    director       one request's life up to the answer
    catalog        plugin type → class
    inline_prefills prompts that are computed elsewhere while their requests wait
    exchange       a routed request and its response, until either ends
    charges        what a request costs the endpoints that work for it
    prefill_order  what is sent to whom for an inline prefill, and merged into the request
    hooks          plugins outside the profile, and the guard between them and the request
    parsing · producers · admission · scheduling · datalayer      what plugins do; they do not know each other
    kvindex        block hashes → who holds them
    config         the schema of the configuration file, and its loader
    transport      HTTP/2 and gRPC: bytes on sockets, calls; certificates and health
    plugin         every extension point, in the order in which they run
    observability  metrics and logs
    aio            named, guarded tasks; listening sockets
    bounded        bodies of answers, read within a limit
    core           the nouns: request, endpoints, ledger, decision, errors, wire names
"""

__version__ = "0.1.0"
