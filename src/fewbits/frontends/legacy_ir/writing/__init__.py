"""ONNX graph → layers of an IR of 2019, their weights, and the XML that says so."""
