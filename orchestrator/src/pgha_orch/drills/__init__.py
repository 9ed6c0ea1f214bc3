"""Drills: faults on purpose, under load, with a ledger that proves what was lost (nothing) and for how long."""
