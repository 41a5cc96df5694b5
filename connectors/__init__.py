"""Reach systems: files, Avro, SQL, memory. Nothing here knows what a repair is."""
