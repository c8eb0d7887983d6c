"""What files of exported models end in; a help lists them without importing torch."""

EXPORT_SUFFIXES = {"torch_export": ".pt2", "onnx": ".onnx", "safetensors": ".safetensors"}  # by format
