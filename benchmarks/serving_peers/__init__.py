"""What `foldnorm-serve` is measured against: each file is a whole program of its own."""
