#!/usr/bin/env python3
"""Writes the pins of both families of packages: `make pins`. The work is in tools/environment/pins.py."""

if __name__ == '__main__':
    from environment.pins import main

    main()
