"""pgha-orch: deploys and operates PostgreSQL high-availability clusters made of immutable images."""

__version__ = "0.1.0"
