"""The data of one's own: a folder of images and annotations in the form of COCO, YOLO or Pascal VOC.

`files` finds annotation files and their images, `facts` measures them, `split` divides a single file, `convert` reads
YOLO and Pascal VOC, `find` puts it all together.
"""

from fishnet_mmdet.project.own_data.find import OwnData, Part, find_data

__all__ = ['OwnData', 'Part', 'find_data']
