"""What goes over the wire in a benchmark, made by us and the same for the same seed.

prompts  bodies of requests
answers  what a replica answers with
page     a replica's metrics page
talk     what Envoy says to the picker about a request
"""
