"""`python -m fishnet_mmdet.doctor`, and `python fishnet_mmdet/doctor` where the package cannot be imported."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType


def load_alone() -> ModuleType:
    """The module `report`, loaded with an empty package around it: the real one may be broken."""
    here = Path(__file__).resolve().parent
    # Python looks for modules in this folder first, and its packages.py, checks.py ... would hide others.
    sys.path[:] = [entry for entry in sys.path if Path(entry or '.').resolve() != here]
    package = sys.modules['fishnet_mmdet'] = ModuleType('fishnet_mmdet')
    package.__path__ = [str(here.parent)]
    try:
        return import_module('fishnet_mmdet.doctor.report')
    finally:
        # Then a check can import the real one.
        del sys.modules['fishnet_mmdet']


if __name__ == '__main__':
    report = import_module('fishnet_mmdet.doctor.report') if __package__ else load_alone()
    sys.exit(report.main())
