"""What does not depend on figures: how to read the report, and what it does not say."""

from typing import Final

READ: Final = {
    "TTFT, ITL": "Time to first token; inter-token latency, the time between two tokens of one answer, over "
    "all gaps of a run. p50, p90 and p99 are percentiles over requests (TTFT) or gaps (ITL). Only served "
    "requests have latencies.",
    "goodput": "Share of all requests, refused and failed ones included, that were served with a TTFT and a "
    "mean time per token (TPOT) below the objective.",
    "attained": "The same, but a long prompt may take up to three times what it takes alone on an idle "
    "replica, where that is more than the objective's TTFT. By this the capacity is defined.",
    "capacity": "The highest load, in requests a second for the whole fleet, at which at least 90 % of the "
    "requests attain that. Found by bisection for each policy and each seed (the quick suite: the first). "
    "Where a policy's share falls but slowly as the load rises, it may be far off: look at the interval.",
    "hits": "Share of the served prompts' tokens that replicas had in their caches.",
    "balance": "Busy time of the busiest replica over the mean of all; 1 is even. A mixed fleet that is used "
    "well need not be even.",
    "±": "95 % confidence interval of the mean over seeds (Student's t). A seed decides about the requests, "
    "where they are made up, and about all chance in a run.",
    "ours - reference": "The difference to the reference's policy of the highest goodput at that load, "
    "seed by seed: both had the same requests, so this interval is often narrower than the two on their "
    "own. Green or red where it does not contain zero, for better or worse.",
    "loads": "Parts of the capacity of the reference's better policy in the same scene, so that they mean "
    "the same for every engine; and the load at which the goodput of the reference's better policy is 65 %.",
}

NOT_SAID: Final = (
    "This is a simulation. Engines are a model of continuous batching with chunked prefill, paged KV memory "
    "and prefix caching; its laws are tested, its constants stand for Qwen3-32B on two H100. Real engines "
    "differ in speed, and in what this model leaves out.",
    "The network, Envoy and the CPU of the picker take no time here. What the picker costs is measured by "
    "make bench-overhead.",
    "Rules of other projects (dynamo, sglang, mooncake) are written anew from what those publish, and know "
    "what they could know in the best case, at once and without error. They stand for a rule, not a product.",
    "The policies of the reference run as its configurations in this implementation of its plugins, not in "
    "its own program.",
    "Where prefill and decode are apart, KV entries travel at 25 GB a second, each transfer by itself, and "
    "half of the replicas compute prompts: another workload would ask for another division.",
    "A trace is a recording. Where all seeds play the same part of it, an interval says how much chance in "
    "the pickers matters, not how other hours of traffic would look.",
    "Runs begin with empty caches and count from the first request on. Conversations begin one after the "
    "other, so in their runs the load rises first.",
    "Many comparisons are made. Of those in which nobody is ahead, about one in twenty still looks decided.",
    "In conversations the next question waits for the answer: who is served slowly asks later, so an "
    "overloaded policy gets its requests later than a good one. A failed or refused turn does not end them.",
)

WORKLOADS: Final = {
    "conversation": "The conversation trace of the Mooncake project: long prompts, histories that grow, real "
    "arrivals, played so fast that the rate is met on average.",
    "azure": "Arrivals and lengths of Azure's conversation trace of 2023; prefixes are made up.",
    "shared-prefix": "150 groups of prompts that have 6,000 tokens in common each.",
    "bursts": "The same groups; six seconds of each minute are ten times as dense.",
    "lora": "A dozen adapters, a few of which get most requests; a replica runs four at a time.",
    "chat": "Conversations of about six turns between people and a model.",
    "agentic": "Conversations of about 25 turns between programs and a model: long contexts, short answers.",
    "reasoning": "Short questions, answers of thousands of tokens.",
    "unshared": "Prompts of about 4,000 tokens that have nothing in common.",
}
POLICIES: Final = {
    "round-robin": "One replica after the other.",
    "least-request": "The fewest requests in flight.",
    "weighted": "The reference without a configuration: queue, KV memory and cached prefix, weighted.",
    "weighted-no-hit-lru": "The same with its scorer for prompts that nobody has cached.",
    "affinity": "The reference's filter that sticks to caches, and the fewest tokens to compute.",
    "dynamo": "The rule of NVIDIA Dynamo's KV router.",
    "sglang": "The cache-aware rule of SGLang's gateway.",
    "mooncake": "The rule of Mooncake's scheduler, without transfers of caches.",
    "default": "Ours: this picker without a configuration.",
    "pd-weighted": "Prefill and decode apart: the reference's scorers and weights in both stages; what the "
    "decoding replica lacks of a prompt is computed elsewhere.",
    "pd-guide": "Prefill and decode apart, as the reference's guide has it: every prompt is computed "
    "elsewhere, by its affinity filter and the fewest tokens; the fewest requests decode.",
    "pd-work": "Ours for prefill and decode apart: least work in each stage, and the picker has prompts "
    "computed itself.",
}
