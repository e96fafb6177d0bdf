"""Random small graphs over ONNX's operators, and a judge that holds what fewbits writes against the graph itself."""
