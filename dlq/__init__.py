"""Keep what could not go on, say why, and get it going again."""
