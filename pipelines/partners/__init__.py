"""Stand-ins for the systems outside: small servers to develop and test an adapter against (`vingate partner`).

A stand-in judges what it gets by rules of its own, answers in its protocol, and keeps what it took in SQLite. It shares
no rule with the gateway's mappings, so that a mapping that is wrong is refused as the real system would refuse it. On
request it is slow, down, picky or wrong (`Mood`), as the real system is on a bad day.
"""
