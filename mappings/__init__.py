"""What data means: canonical records, value types, code tables and one pure module per partner format."""
