"""The parts of text models that are written as ONNX by hand: the front that makes ids, and recurrent layers."""
