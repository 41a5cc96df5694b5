"""Bringing an existing platform over: its companies, its records, its registrations, from CSV files or a database."""
