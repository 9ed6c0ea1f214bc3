"""The fault matrix of reliability.md, a scenario a file; see `pgha_orch.drills.scenario`."""
