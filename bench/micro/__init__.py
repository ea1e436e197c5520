"""What single steps of a request cost the CPU, without sockets.

__main__  flags, table, file
schedule  one scheduling cycle
prefix    hashing, the prefix index, the producers
parsing   bodies, answers, metrics pages
codec     Envoy's messages to records and back
frames    HTTP/2, alone and with a whole request in it

timing    how an operation is measured
picker    a picker without sockets, for `frames`
envoy     the bytes that Envoy sends it
"""
