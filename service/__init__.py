"""The online side: serves the models of a store over HTTP. Never imports TensorFlow."""
