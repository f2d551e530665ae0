"""Data formats: COCO's files and the rules for what is in them, its panoptic maps, Tiny ImageNet, nuclei."""
