"""What of the configs of MMDetection with a ResNet-50 can be ported, and trains for a step: `python -m` this room."""
