"""Loads a real server, open loop, with the workloads of the virtual fleet.

    stream       one request, and what its stream brings, when
    texts        the requests of a workload as bodies; conversations go on with what was really answered
    target       which server: its address, its models, what every request carries
    sending      when what is sent: by schedule, whatever has come back
    record       one request in numbers, and all of them in sum
    progress     how far it is
    show         a table for people
    flags        of the command

`python -m bench.load --help`.
"""
