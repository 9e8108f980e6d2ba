"""What is measured, drawn and told of a data set and of a fitted network: figures, reports, comparisons."""
