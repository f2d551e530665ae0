#!/usr/bin/env python
"""Creates the environment of `make demo` and `make test`. The work is in tools/environment/.

This file can be read by any Python, Python 2 included, so that an old one reaches the message that it is too old.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(
        'set-up failed: Python %d.%d is too old; use Python 3.10 to 3.13, for example: make PYTHON=python3.12'  # noqa: UP031
        % tuple(sys.version_info[:2])
    )

if __name__ == '__main__':
    from environment.main import main

    main()
