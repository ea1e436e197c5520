"""How well each candidate would serve a request: one small class for each thing to look at."""
