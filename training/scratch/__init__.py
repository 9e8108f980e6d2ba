"""A dense network in plain NumPy, as courses write it: nothing in here imports TensorFlow."""
