"""The revisions, oldest first: each knows both roles, and may have nothing to do for one."""
