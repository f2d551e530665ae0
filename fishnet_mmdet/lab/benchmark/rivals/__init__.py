"""FishNet in torch against runtimes of ONNX files, each in a process of its own, over image sizes and batches."""
