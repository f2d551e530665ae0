#!/usr/bin/env python
"""The command `fishnet-mmdet draw`, for a clone."""

from clone import run_tool

if __name__ == '__main__':
    run_tool('draw')
