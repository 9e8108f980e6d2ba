"""Measurements that anyone can repeat: `make bench`. Never timed tests."""
