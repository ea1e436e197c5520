"""Bytes of a request → what a pick needs of it; chunks of a response → what it cost.

One module for each dialect (`openai`, `anthropic`, `vllm`, `passthrough`); `paths` finds the parser of a
path, `bodies` and `prompts` are what the dialects share on the way in, `usage` and `sse` on the way out,
`rewrite` changes model names in both directions. Bytes in, values out: nothing here waits or does I/O.
"""
