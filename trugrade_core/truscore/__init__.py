"""What TruScore needs of an artifact: onnxruntime, numpy and OpenCV, no torch."""
