"""Every policy against every workload, on the same requests, with intervals: `make bench-routing`.

    __main__    from flags to a report
    settings    the flags, and what they amount to
    scenes      what is run: workloads, fleets, disturbances, engines of another pace
    loads       how the loads of a scene are found: capacities, and where the reference is in trouble
    search      the highest load that a policy bears
    course      all runs of all scenes, each once
    crew        processes that simulate, none of which is left behind
    asking      one run: what it is asked, what it tells
    origin      which code was run, by whom it can be told apart
    intervals   means with 95 % intervals over seeds, paired where two policies had the same requests
    sheet       runs → figures; tables, report and file for machines show these and no others
    glance      the figures that a reader wants first
    meter       progress, and how long it will go on
    show        a table for the terminal
    budget      how long runs take, beforehand
    plots       pictures
    pages/      the report, one HTML file without anything outside it

The simulations are those of `bench.fleet`. Nothing is kept from one run of the suite to the next.
"""
