"""A fleet in virtual time: many simulated engines behind the real picker, in one process, by a seed.

Policies are compared here, since only here each of them gets the very same requests. A policy is an
`EndpointPickerConfig`, run by the real director, producers, scorers and ledger, short of sockets; or one of
the bench's own baselines, which are no configuration.

    traffic      a request as a client means it, and how a conversation goes on after an answer
    text         what it looks like to a picker (a JSON body), and to an engine (hashes of blocks)
    workloads/   who asks what, and when: traces and generators, each by a seed
    fleet        engines, pickers, how old the gauges are, what is wrong with the index, what happens when
    replica      one engine with a clock: its steps
    pages        what its metrics page shows
    handovers    prompts computed on one replica and decoded on another
    gaps         inter-token times, counted without a look at each token
    events       what caches store and remove, told later
    policy       who chooses: the protocol, and what is known of the fleet
    roster       every policy by its name
    picker       the real director as a policy
    scrapes      metrics pages, read as often as an interval allows
    wrong        an index that errs about a share of its blocks
    baselines    round robin, least request
    rivals       the rules of other routers
    policies/    configurations of the reference, and of ours
    driver       `simulate`: the loop over events
    notes        what is written down while it goes on
    outcome      what came of it, request by request, and in sum
    trying       runs of several policies and seeds, on all cores
    show         tables for people

`python -m bench.fleet --help` tries policies side by side.
"""
