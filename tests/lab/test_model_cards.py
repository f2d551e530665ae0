"""The model card of the released weights is that of the catalogue, and its counts are those of the released files."""

import pytest
from conftest import REPO
from seeded import official_keys

from fishnet_mmdet.lab.paper.model_cards import tensors
from fishnet_mmdet.weights.catalogue import CATALOGUE

PAGE = (REPO / 'docs' / 'model-cards' / 'imagenet.md').read_text()


def test_the_page_is_up_to_date(call_tool):
    """If this fails, write what tools/paper_tables.py --model-card prints to docs/model-cards/imagenet.md."""
    assert call_tool('tools/paper_tables.py', '--model-card').stdout == PAGE


def test_every_name_and_whose_it_is():
    for name, weights in CATALOGUE.items():
        assert f'`fishnet://{name}`' in PAGE and weights.file in PAGE and weights.origin in PAGE
    assert '**those of the owners**' in PAGE and 'no licence is stated there' in PAGE


@pytest.mark.parametrize('name', CATALOGUE)
def test_numbers_of_tensors(name):
    """Those of the authors' networks, except for the norm that their well-trained FishNet-201 lacks: five tensors."""
    weights = CATALOGUE[name]
    absent = 5 if name == 'fishnet201-imagenet-cosine' else 0
    assert tensors(weights) == len(official_keys(weights.arch)) - absent
