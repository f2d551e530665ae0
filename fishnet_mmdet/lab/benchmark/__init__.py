"""Speed and memory of FishNet and its peers, measured in turns."""
