"""CITATION.cff is what citation tools read: YAML with the version of the package and the paper."""

import yaml
from conftest import REPO

import fishnet_mmdet

CONTENT = yaml.safe_load((REPO / 'CITATION.cff').read_text())


def test_the_software():
    assert CONTENT['cff-version'] == '1.2.0' and CONTENT['type'] == 'software'
    assert CONTENT['title'] == 'fishnet_mmdet' and CONTENT['authors'] and CONTENT['message']
    assert CONTENT['version'] == fishnet_mmdet.__version__
    assert f'license = "{CONTENT["license"]}"' in (REPO / 'pyproject.toml').read_text()


def test_the_paper():
    paper = CONTENT['preferred-citation']
    assert [author['family-names'] for author in paper['authors']] == ['Sun', 'Pang', 'Shi', 'Yi', 'Ouyang']
    assert paper['title'].startswith('FishNet: A Versatile Backbone') and paper['year'] == 2018
    assert paper['url'].endswith('1901.03495') and paper['url'] in (REPO / 'README.md').read_text()
