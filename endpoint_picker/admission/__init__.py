"""May it go now, and where at all? Plugins that look at a request before its profile runs, or after it.

How full the pool is and who is shed when it is (`saturation`, `shedding`), who is refused (`admitters`),
which endpoints a request may use (`screeners`), who asks (`identity`), what is told at the end (`reporting`).
"""
