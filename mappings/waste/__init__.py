"""Waste of repair shops: codes and units as they are written, states of a manifest, and the gates that it passes."""
