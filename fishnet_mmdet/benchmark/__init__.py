"""How fast a FishNet is and how much memory it takes, beside its peers, in one process and one run."""
