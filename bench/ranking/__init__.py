"""Whether policies rank in HTTP as they do in virtual time: the same requests, engines and policies in both.

    course       what is run, and one policy's run in either world
    verdict      who is ahead of whom, beyond noise, and whether both worlds say so
    show         tables for people

`python -m bench.ranking --help`.
"""
