"""Backups on request, their verification, proofs that they restore, and the restore of the whole cluster."""
