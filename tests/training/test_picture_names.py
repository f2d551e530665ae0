"""Names of pictures: images of different folders keep names of their own."""

from types import SimpleNamespace

from fishnet_mmdet.training.pictures import image_paths, unlike_names


def test_as_much_of_the_path_as_tells_images_apart():
    paths = ['/data/a/0.jpg', '/data/b/0.jpg', '/data/b/1.jpg', '/data/b/1.png', '/data/b/2.jpg']
    assert unlike_names(paths) == dict(zip(paths, ['a_0', 'b_0', 'b_1.jpg', 'b_1.png', '2'], strict=True))
    assert len(set(unlike_names(['/d/q/a_0.jpg', '/d/a/0.jpg', '/d/b/0.jpg']).values())) == 3
    clash = ['/d/a_b/c.jpg', '/d/a/b_c.jpg', '/d/x/c.jpg', '/d/x/b_c.jpg']
    assert len(set(unlike_names(clash).values())) == 4
    # In one folder, as they are called.
    assert unlike_names(['/data/a/0.jpg', '/data/a/1.jpg']) == {'/data/a/0.jpg': '0', '/data/a/1.jpg': '1'}
    assert unlike_names([]) == {}


def test_a_data_set_without_paths_has_none():
    class Listed(list):
        def get_data_info(self, index):
            return self[index]

    assert image_paths(Listed([dict(img_path='/a.jpg'), dict(img_path=None), {}])) == ['/a.jpg']
    assert image_paths(SimpleNamespace()) == []
