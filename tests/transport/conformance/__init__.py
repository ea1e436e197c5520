"""What RFC 9113 asks of a server, asked by a client that shares no code with it."""
