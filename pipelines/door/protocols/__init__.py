"""The dialects of the door: what a request means, and how an outcome is said in the caller's own words. Pure."""
