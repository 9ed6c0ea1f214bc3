"""From an inventory to a running cluster, in stages, each safe to repeat (design.md, Boot order)."""
