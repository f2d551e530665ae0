"""Pictures and proofs about a network: the fish of figure 2 drawn from a layout, and what its gradients pass."""
