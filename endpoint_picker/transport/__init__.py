"""What carries bytes: certificates and health. Knows nothing of the conversation that it carries."""
