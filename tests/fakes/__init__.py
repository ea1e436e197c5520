"""Real servers that stand where the real thing cannot run, and the words that tests speak in."""
