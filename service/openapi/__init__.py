"""The HTTP interface described as an OpenAPI 3.1 document, with what is served now. Knows neither Flask nor ONNX."""
