"""`/v1`: the door for new software. Canonical JSON, problem+json, Idempotency-Key, batches, receipts, OpenAPI."""
