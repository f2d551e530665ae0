"""Pictures of the network: the fish, gradient paths, gradient norms."""
