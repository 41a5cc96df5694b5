"""Exchanges, steps, runner, settings and command line: Beam and everything below composed."""

import logging

# Importing Beam warns of Google's libraries, which are not used here; the filter must be there before the first import.
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())
