"""Weights in and out: by any public door, strict both ways, bit for bit."""

import copy
import json
import zipfile
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from mmengine.model import PretrainedInit, initialize
from seeded import NARROW, official_state, relative_error, seeded_classifier
from weight_cases import as_downloaded, in_naming, same

from fishnet_mmdet import FishNet, FishNetClassifier
from fishnet_mmdet.weights import reading
from fishnet_mmdet.weights.convert import convert_weights
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.load import load, load_backbone
from fishnet_mmdet.weights.namings import OFFICIAL, OWN, PYTORCHCV
from fishnet_mmdet.weights.reading import read


@pytest.fixture(scope='module')
def narrow():
    return seeded_classifier().state_dict()


class TestAnyFile:
    @pytest.mark.parametrize('kind', ['Pretrained', PretrainedInit])
    def test_a_classifier_in_configs_of_texts_and_of_classes(self, tmp_path, narrow, kind):
        torch.save(narrow, tmp_path / 'fish.pth')
        net = FishNet(NARROW, init_cfg=dict(type=kind, checkpoint=str(tmp_path / 'fish.pth')))
        net.init_weights()
        assert torch.equal(net.stem[0].conv.weight, narrow['backbone.stem.0.conv.weight'])

    def test_a_large_file_of_the_users_own_training(self, tmp_path, narrow, monkeypatch):
        """Only what unpacks to much more than its size is refused."""
        monkeypatch.setattr(reading, 'MAX_BYTES', 1000)
        torch.save(narrow, tmp_path / 'fish.pth')
        assert read(tmp_path / 'fish.pth').state.keys() == narrow.keys()
        with zipfile.ZipFile(tmp_path / 'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('fish.pth', bytes(10**6))
        with pytest.raises(WeightsError, match='unpacks to 1,000,000 bytes'):
            read(tmp_path / 'bomb.zip')

    def test_the_authors_file(self, tmp_path):
        """FishNet-150, whole: into a detector's backbone, and through a converted file into the classifier."""
        state = official_state('fishnet150')
        path = as_downloaded(state, tmp_path / 'fishnet150_ckpt.tar')
        net = FishNet('fishnet150', init_cfg=dict(type='Pretrained', checkpoint=str(path)))
        net.init_weights()
        converted, summary = convert_weights(str(path), tmp_path / 'fish.safetensors')
        assert 'official key naming, fishnet150): 905 tensors' in summary
        written = safetensors.torch.load_file(converted)
        FishNetClassifier('fishnet150').load_state_dict(written)
        assert torch.equal(net.state_dict()['stem.0.conv.weight'], state['conv1.0.weight'])
        assert same(net.state_dict(), {k[9:]: v for k, v in written.items() if k.startswith('backbone.')})

    def test_pytorchcv_plain_and_packed(self, tmp_path, narrow):
        from pytorchcv.model_provider import get_model

        theirs = get_model('fishnet99', pretrained=False).eval()
        torch.save(theirs.state_dict(), tmp_path / 'fishnet99-0642-00000000.pth')
        with zipfile.ZipFile(tmp_path / 'packed.pth.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / 'fishnet99-0642-00000000.pth', 'fishnet99-0642-00000000.pth')
        plain, _ = convert_weights(str(tmp_path / 'fishnet99-0642-00000000.pth'), tmp_path / 'a.pth')
        packed, _ = convert_weights(str(tmp_path / 'packed.pth.zip'), tmp_path / 'b.pth')
        assert same(read(plain).state, read(packed).state)
        ours = FishNetClassifier('fishnet99').eval()
        ours.load_state_dict(torch.load(plain, weights_only=True)['state_dict'])
        image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            assert relative_error(ours(image), theirs(image)) < 1e-5

    @pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
    @pytest.mark.parametrize('naming', [OWN, OFFICIAL, PYTORCHCV], ids=['own', 'official', 'pytorchcv'])
    def test_a_round_trip_changes_no_bit(self, tmp_path, narrow, naming, ending):
        """A custom architecture too: nothing depends on the released sizes."""
        torch.save(in_naming(narrow, naming), tmp_path / 'source.pth')
        first, _ = convert_weights(str(tmp_path / 'source.pth'), tmp_path / f'first{ending}')
        second, _ = convert_weights(str(first), tmp_path / 'second.pth')
        assert same(read(first).state, narrow) and same(read(second).state, narrow)

    def test_a_detector_gives_its_backbone_and_a_classifier_too(self, tmp_path, narrow):
        backbone = {k: v for k, v in narrow.items() if k.startswith('backbone.')}
        heads = {'neck.lateral_convs.0.conv.weight': torch.ones(1), 'rpn_head.rpn_cls.weight': torch.ones(2)}
        content = {'meta': {'epoch': 3}, 'state_dict': backbone | heads, 'message_hub': {}, 'optimizer': {}}
        torch.save(content, tmp_path / 'epoch_3.pth')
        net = FishNet(NARROW)
        bare = {key.removeprefix('backbone.'): value for key, value in backbone.items()}
        assert same(load_backbone(str(tmp_path / 'epoch_3.pth'), net.state_dict()), bare)
        path, summary = convert_weights(str(tmp_path / 'epoch_3.pth'), tmp_path / 'fish.pth')
        assert same(read(path).state, backbone) and 'left out: neck, rpn_head' in summary
        torch.save(narrow, tmp_path / 'classifier.pth')
        assert same(load_backbone(str(tmp_path / 'classifier.pth'), net.state_dict()), bare)
        torch.save(bare, tmp_path / 'bare.pth')
        assert same(load_backbone(str(tmp_path / 'bare.pth'), net.state_dict()), bare)
        torch.save({f'teacher.{k}': v for k, v in bare.items()} | {'x': torch.ones(1)}, tmp_path / 'deep.pth')
        assert same(load_backbone(str(tmp_path / 'deep.pth'), net.state_dict(), prefix='teacher.'), bare)

    def test_averaged_weights_when_asked(self, tmp_path):
        """MMEngine's EMAHook swaps: state_dict holds the average, ema_state_dict the live weights."""
        from mmengine.model import ExponentialMovingAverage

        live, average = seeded_classifier(), seeded_classifier()
        with torch.no_grad():
            average.head.fc.weight += 1
        copy = ExponentialMovingAverage(live).state_dict()
        torch.save({'state_dict': average.state_dict(), 'ema_state_dict': copy, 'meta': {}}, tmp_path / 'e.pth')
        for take, expected in ((None, average), ('average', average), ('live', live)):
            weights = load(str(tmp_path / 'e.pth'), take)
            assert same(weights.renamed.state, expected.state_dict())
            assert weights.file.notes == [f'{take or "average"}d weights'.replace('lived', 'live')]
        torch.save({'state_dict': live.state_dict(), 'state_dict_ema': average.state_dict()}, tmp_path / 't.pth')
        assert same(load(str(tmp_path / 't.pth'), 'average').renamed.state, average.state_dict())
        torch.save(live.state_dict(), tmp_path / 'none.pth')
        with pytest.raises(WeightsError, match='no averaged'):
            load(str(tmp_path / 'none.pth'), 'average')

    def test_mmengines_own_loader_reads_what_is_written(self, tmp_path, narrow):
        from mmengine.runner import CheckpointLoader

        torch.save(in_naming(narrow, OFFICIAL), tmp_path / 'source.tar')
        path, _ = convert_weights(str(tmp_path / 'source.tar'), tmp_path / 'fish.pth')
        assert same(CheckpointLoader.load_checkpoint(str(path), map_location='cpu')['state_dict'], narrow)
        by_scheme = CheckpointLoader.load_checkpoint(f'fishnet://{tmp_path / "source.tar"}')
        assert same(by_scheme['state_dict'], narrow)

    def test_what_is_written_says_what_it_is(self, tmp_path, narrow):
        torch.save(narrow, tmp_path / 'source.pth')
        path, _ = convert_weights(str(tmp_path / 'source.pth'), tmp_path / 'fish.safetensors', hash_in_name=True)
        file = read(path)
        assert path.name == f'fish-{file.sha256[:8]}.safetensors'
        architecture = json.loads(file.meta['architecture'])
        assert architecture['classes'] == 7 and architecture['tail'] == list(NARROW.tail)
        assert file.meta['source_sha256'] == read(tmp_path / 'source.pth').sha256 and file.meta['licence']

    @pytest.mark.parametrize(
        'options',
        [
            dict(group_width=1),
            dict(stem='conv7x7'),
            dict(stem='residual'),
            dict(down='conv', attention='none'),
        ],
    )
    def test_alternatives(self, tmp_path, options):
        """FishNeXt and the paper's other networks come back from their weights alone."""
        state = seeded_classifier(replace(NARROW, **options)).state_dict()
        torch.save(state, tmp_path / 'fish.pth')
        path, _ = convert_weights(str(tmp_path / 'fish.pth'), tmp_path / 'out.safetensors')
        assert same(read(path).state, state)
        assert load(str(path)).arch == replace(NARROW, **options)

    def test_group_norm(self, tmp_path):
        net = FishNet(NARROW, norm_cfg=dict(type='GN', num_groups=2))
        torch.save(net.state_dict(), tmp_path / 'gn.pth')
        path, _ = convert_weights(str(tmp_path / 'gn.pth'), tmp_path / 'fish.pth')
        assert same(load_backbone(str(path), net.state_dict()), net.state_dict())
        with pytest.raises(WeightsError, match='running_mean'):
            load_backbone(str(path), FishNet(NARROW).state_dict())


class TestInitializer:
    """`FishNetPretrained`, built and called as MMEngine does."""

    def test_loads_into_the_module(self, tmp_path, narrow):
        torch.save({f'teacher.{key}': value for key, value in narrow.items()}, tmp_path / 'fish.pth')
        net = FishNet(NARROW)
        init = dict(type='FishNetPretrained', checkpoint=str(tmp_path / 'fish.pth'), prefix='teacher.')
        initialize(net, init)
        assert same(net.state_dict(), {k[9:]: v for k, v in narrow.items() if k.startswith('backbone.')})

    def test_weights_of_another_network_change_nothing(self, tmp_path, narrow):
        torch.save(narrow, tmp_path / 'fish.pth')
        net = FishNet(replace(NARROW, stem_width=16))
        before = copy.deepcopy(net.state_dict())
        with pytest.raises(WeightsError, match='does not fit'):
            initialize(net, dict(type='FishNetPretrained', checkpoint=str(tmp_path / 'fish.pth')))
        assert same(net.state_dict(), before)


def removed(state, key):
    del state[key]


def added(state, key):
    state[f'{key}_too'] = state[key]


def reshaped(state, key):
    state[key] = state[key][..., :0]


def renamed(state, key):
    state[key.replace('weight', 'wieght')] = state.pop(key)


class TestStrict:
    @pytest.mark.parametrize('naming', [OWN, OFFICIAL, PYTORCHCV], ids=['own', 'official', 'pytorchcv'])
    @pytest.mark.parametrize('change', [removed, added, reshaped, renamed])
    def test_one_key_that_is_not_right_is_named(self, tmp_path, narrow, naming, change):
        state = in_naming(narrow, naming)
        key = naming.from_own('backbone.bridge.expand.conv.weight')
        change(state, key)
        torch.save(state, tmp_path / 'fish.pth')
        problem = {
            'removed': 'missing',
            'added': 'unexpected',
            'reshaped': 'mis-shaped',
            'renamed': 'missing',
        }
        with pytest.raises(WeightsError) as error:
            load_backbone(str(tmp_path / 'fish.pth'), FishNet(NARROW).state_dict())
        assert problem[change.__name__] in str(error.value) and key in str(error.value)
        with pytest.raises(WeightsError):
            convert_weights(str(tmp_path / 'fish.pth'), tmp_path / 'out.pth')
        assert not (tmp_path / 'out.pth').exists()

    @pytest.mark.parametrize('change', [removed, added, reshaped, renamed])
    @pytest.mark.parametrize('key', ['fish.fish.9.4.1.weight', 'fish.fish.0.0.0.conv3.weight'])
    def test_so_it_is_in_a_released_file(self, tmp_path, change, key):
        """The released network is what the message compares with, in any key."""
        state = official_state('fishnet99')
        change(state, key)
        with pytest.raises(WeightsError) as error:
            convert_weights(str(as_downloaded(state, tmp_path / 'fishnet99_ckpt.tar')), tmp_path / 'out.pth')
        assert 'does not fit fishnet99: 1 ' in str(error.value) and key[:-4] in str(error.value)

    def test_another_network(self, tmp_path):
        torch.save(FishNet('fishnet99').state_dict(), tmp_path / 'fish.pth')
        with pytest.raises(WeightsError, match=r'fishnet99\) does not fit fishnet150: 306 missing'):
            FishNet(
                'fishnet150', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'fish.pth'))
            ).init_weights()

    @pytest.mark.parametrize('levels', [(0, 1, 2, 3), (1, 3)])
    @pytest.mark.parametrize('prefix', ['', 'backbone.'])
    def test_norms_of_levels(self, tmp_path, levels, prefix):
        net = FishNet(replace(NARROW, levels='norm_relu'), out_indices=levels)
        torch.save({f'{prefix}{key}': value for key, value in net.state_dict().items()}, tmp_path / 'x.pth')
        path, _ = convert_weights(str(tmp_path / 'x.pth'), tmp_path / 'fish.safetensors')
        for source, prefixed in ((path, {}), (tmp_path / 'x.pth', dict(prefix=prefix) if prefix else {})):
            init_cfg = dict(type='Pretrained', checkpoint=str(source), **prefixed)
            again = FishNet(net.arch, out_indices=levels, init_cfg=init_cfg)
            again.init_weights()
            assert same(again.state_dict(), net.state_dict())

    def test_a_type_with_which_torch_does_not_compute(self, tmp_path):
        weight = torch.zeros(2, 2, 1, 1).to(torch.float8_e4m3fn)
        torch.save({'tail.0.refine.0.expand.conv.weight': weight}, tmp_path / 'x.pth')
        with pytest.raises(WeightsError, match='is float8_e4m3fn, with which torch does not compute'):
            convert_weights(str(tmp_path / 'x.pth'), tmp_path / 'fish.safetensors')

    def test_a_tensor_of_another_shape_than_a_convolution(self, tmp_path):
        torch.save({'tail.0.refine.0.expand.conv.weight': torch.tensor(1.0)}, tmp_path / 'x.pth')
        with pytest.raises(WeightsError):
            convert_weights(str(tmp_path / 'x.pth'), tmp_path / 'fish.safetensors')

    def test_other_weights(self, tmp_path):
        torch.save({'layer1.0.conv1.weight': torch.ones(1)}, tmp_path / 'resnet.pth')
        with pytest.raises(WeightsError, match='no known key naming') as error:
            load_backbone(str(tmp_path / 'resnet.pth'), FishNet(NARROW).state_dict())
        for part in ('layer1.0.conv1.weight', 'fish.fish.0.0.0.conv1.weight', 'features.init_block'):
            assert part in str(error.value)

    def test_a_detector_with_parts_that_nobody_knows(self, tmp_path, narrow):
        state = narrow | {'rpn_head.x': torch.ones(1), 'spoon.weight': torch.ones(1)}
        torch.save({k: v for k, v in state.items() if not k.startswith('head')}, tmp_path / 'd.pth')
        for use in (
            lambda: convert_weights(str(tmp_path / 'd.pth'), tmp_path / 'out.pth'),
            lambda: load_backbone(str(tmp_path / 'd.pth'), FishNet(NARROW).state_dict()),
        ):
            with pytest.raises(WeightsError, match='spoon.weight'):
                use()

    @pytest.mark.parametrize(
        'target, message',
        [('fish.bin', 'must end in'), ('no/fish.pth', 'does not exist'), ('there.pth', '--overwrite')],
    )
    def test_a_target_that_cannot_be_written_is_reported_first(self, tmp_path, target, message):
        (tmp_path / 'there.pth').write_text('mine')
        with pytest.raises(WeightsError, match=message):
            convert_weights('no such source', tmp_path / target)
        assert (tmp_path / 'there.pth').read_text() == 'mine'
