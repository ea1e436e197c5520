"""Bytes of a request → what a pick needs of it; chunks of a response → what it cost.

One module for each dialect (`openai`, `anthropic`, `vllm`, `sglang`, `passthrough`; over gRPC `vllm_grpc` and
`vertexai`); `paths` finds the parser of a path, `bodies`, `prompts` and `media` are what the dialects share
on the way in, `usage` and `sse` on the way out, `grpc_messages` and `contracts` what those over gRPC share.
`rewrite` changes model names in both directions, `legs` makes two bodies of one. Bytes in, values out:
nothing here waits or does I/O.
"""
