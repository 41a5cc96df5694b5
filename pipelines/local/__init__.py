"""Servers of one's own on this machine, in folders and on ports of loopback, gone with who started them."""
