"""One pure module per partner format ("dialect")."""
