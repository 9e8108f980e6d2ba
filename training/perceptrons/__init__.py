"""What the first neural networks learned by, before there were gradients."""
