"""Exchanges, steps, runner, settings and command line: Beam and everything below composed."""
