"""What pyproject.toml cannot say: the configs go into the package, and README becomes the page of the package.

Everything else is in pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
CONFIGS = ['fishnet_mmdet.configs', 'fishnet_mmdet.configs._base_', 'fishnet_mmdet.configs.experiments']


def page(readme: str) -> str:
    """README without pictures and links that lead to files of the repository: a package index has no such files."""
    readme = re.sub(r'^!\[[^\]]*\]\((?!https?:)[^)]*\)\n\n?', '', readme, flags=re.MULTILINE)
    return re.sub(r'\[([^\]]*)\]\((?!https?:)[^)]*\)', r'\1', readme)


setup(
    py_modules=['fishnet_mmdet_console'],
    packages=[*find_packages(include=['fishnet_mmdet', 'fishnet_mmdet.*']), *CONFIGS],
    package_dir={'fishnet_mmdet.configs': 'configs'},
    package_data={
        'fishnet_mmdet': ['py.typed'],
        'fishnet_mmdet.configs': ['*.yml'],
        'fishnet_mmdet.data': ['nuclei_split.txt'],
        'fishnet_mmdet.runs': ['page.css', 'page.js'],
        'fishnet_mmdet.weights': ['shipped_files/*.safetensors'],
    },
    long_description=page((HERE / 'README.md').read_text(encoding='utf-8')),
    long_description_content_type='text/markdown',
)
