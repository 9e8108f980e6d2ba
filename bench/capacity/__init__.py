"""How many replicas a load takes: measured costs, a model of the queue, and a simulated fleet to check it by."""
