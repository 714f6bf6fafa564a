"""Online: HTTP bytes in, predictions and comparisons out."""
