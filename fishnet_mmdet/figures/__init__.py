"""Pictures and proofs: the fish of figure 2 drawn from a layout, and what gradients pass in a network."""
