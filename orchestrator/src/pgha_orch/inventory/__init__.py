"""The inventory, `hosts.yml`: the only file a user writes."""
