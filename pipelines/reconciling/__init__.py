"""Reconciliation: what the ledger says was sent, against what the other side says it holds; and backfill."""
