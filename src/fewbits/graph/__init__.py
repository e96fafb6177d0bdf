"""Helpers over ``onnx_ir.Model``, the only graph in fewbits."""
