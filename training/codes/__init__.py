"""What short codes of pictures and rows are good for: anomalies, a probe of what they tell, clusters, figures."""
