"""What the parts of a running cluster say of themselves, and what the orchestrator makes of it."""
