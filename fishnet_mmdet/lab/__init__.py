"""Studies of the network: benchmark, comparison, figures, the tables of the paper, drawn data. Only its own commands import it."""
