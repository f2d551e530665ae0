"""The paper's tables and its Figure 4: published figures, counts of the built networks, and own runs."""
