"""The door: what shop software calls, who may call, and how it is answered."""
