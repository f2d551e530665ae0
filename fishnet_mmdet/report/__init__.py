"""AP from pycocotools, its table beside the published figures."""
