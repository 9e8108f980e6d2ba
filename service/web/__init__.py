"""The HTTP interface: the only folder that imports Flask."""
