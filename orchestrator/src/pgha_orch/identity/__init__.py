"""Identities: what makes a machine one host of one cluster (images/node/README.md, The identity archive)."""

from pgha_orch.identity.archive import Identity, Member
from pgha_orch.identity.dynamic import DynamicConfig, dynamic_config
from pgha_orch.identity.render import render

__all__ = ["DynamicConfig", "Identity", "Member", "dynamic_config", "render"]
