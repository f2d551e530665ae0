#!/usr/bin/env python3
"""Tries every Python with every family of packages: `make matrix`. The work is in tools/environment/matrix.py."""

if __name__ == '__main__':
    from environment.matrix import main

    main()
