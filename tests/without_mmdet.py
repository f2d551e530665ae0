"""Runs tools in a process in which `import mmdet` fails: tests/without_mmdet.py '[["tools/train.py", "CONFIG"], ...]'.

They run one after another, so that what all of them import is imported once.
"""

import json
import runpy
import sys
from pathlib import Path

# Python then raises ModuleNotFoundError on `import mmdet`.
sys.modules['mmdet'] = None

if __name__ == '__main__':
    for command in json.loads(sys.argv[1]):
        sys.argv = command
        # As Python does for a script.
        sys.path[0] = str(Path(command[0]).parent)
        try:
            runpy.run_path(command[0], run_name='__main__')
        except SystemExit as end:
            if end.code:
                raise
    imported = [name for name, module in sys.modules.items() if name.split('.')[0] == 'mmdet' and module]
    if imported:
        sys.exit(f'imported all the same: {imported}')
