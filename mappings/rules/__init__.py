"""The rules of domain table 9.1, by kind of payload. `mappings.judge` is their one caller."""
