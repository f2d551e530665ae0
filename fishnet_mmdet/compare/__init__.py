"""One detector on many backbones, trained alike on the same data: what is compared, its runs, their figures."""
