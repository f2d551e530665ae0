"""Names of pictures: images of different folders keep names of their own."""

from types import SimpleNamespace

from fishnet_mmdet.training.pictures import image_paths, unlike_names


def test_as_much_of_the_path_as_tells_images_apart():
    paths = ['/data/a/0.jpg', '/data/b/0.jpg', '/data/b/1.jpg', '/data/b/1.png']
    names = unlike_names(paths)
    assert list(names) == paths and len(set(names.values())) == 4
    assert names['/data/a/0.jpg'] == 'a_0' and names['/data/b/1.png'] == 'b_1.png'
    # In one folder, as they are called.
    assert unlike_names(['/data/a/0.jpg', '/data/a/1.jpg']) == {'/data/a/0.jpg': '0', '/data/a/1.jpg': '1'}
    assert unlike_names([]) == {}


def test_a_data_set_without_paths_has_none():
    class Listed(list):
        def get_data_info(self, index):
            return self[index]

    assert image_paths(Listed([dict(img_path='/a.jpg'), dict(img_path=None), {}])) == ['/a.jpg']
    assert image_paths(SimpleNamespace()) == []
