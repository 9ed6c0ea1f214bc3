"""The commands: each parses, calls one thing below, and shows what came back."""
