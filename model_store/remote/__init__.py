"""Stores in object storage or behind a web server: mirrored to a local folder, which is what readers read.

fsspec reaches them; its file systems are imported when a store is looked at, and come with the extras `s3`, `gcs`,
`azure`, `http` and `hf`. Knows neither Keras nor ONNX nor HTTP.
"""
