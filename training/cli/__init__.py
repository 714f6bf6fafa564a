"""The offline command line, `foldnorm`: one module per command."""
