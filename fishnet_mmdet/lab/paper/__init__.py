"""The tables and figures of the paper, with counts of the built networks and the runs of the user."""
