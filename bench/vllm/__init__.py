"""The real vLLM engine on the CPU, for the tests and for a measurement: round robin against the picker."""
