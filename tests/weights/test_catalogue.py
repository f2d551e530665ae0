"""Weights with a name."""

import pytest
from seeded import seeded_classifier
from weight_cases import as_downloaded, in_naming, same

from fishnet_mmdet import ARCHS
from fishnet_mmdet.weights import catalogue
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.load import load
from fishnet_mmdet.weights.namings import FOREIGN, OFFICIAL, PYTORCHCV


@pytest.fixture(scope='module')
def narrow():
    return seeded_classifier().state_dict()


class TestCatalogue:
    def test_every_released_file_has_a_name(self):
        files = {weights.file for weights in catalogue.CATALOGUE.values()}
        assert files == {
            'fishnet99_ckpt.tar',
            'fishnet150_ckpt.tar',
            'fishnet150_ckpt_welltrained.tar',
            'fishnet201_ckpt_welltrain.tar',
            'fishnet150-0475-93e26daa.pth',
        }
        for weights in catalogue.CATALOGUE.values():
            assert weights.arch in ARCHS and all(url.startswith('https://') for url in weights.urls)
            assert weights.naming in {naming.name for naming in FOREIGN}

    @pytest.mark.parametrize('naming, noted', [(OFFICIAL, False), (PYTORCHCV, True)], ids=['official', 'other'])
    def test_a_name_finds_a_file_put_by_hand(self, tmp_path, monkeypatch, narrow, naming, noted):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path))
        path = tmp_path / 'hub' / 'checkpoints' / 'fishnet99_ckpt.tar'
        path.parent.mkdir(parents=True)
        as_downloaded(in_naming(narrow, naming), path)
        weights = load('fishnet://fishnet99-imagenet')
        assert same(weights.renamed.state, narrow)
        assert any('was expected' in note for note in weights.renamed.notes) == noted

    def test_an_unknown_name_is_reported_with_the_nearest(self):
        with pytest.raises(WeightsError, match='Did you mean fishnet://fishnet150-imagenet'):
            load('fishnet://fishnet150-imagnet')

    def test_the_docs_show_the_catalogue(self):
        from conftest import REPO

        assert catalogue.markdown_table() in (REPO / 'docs' / 'weights.md').read_text()
