"""The offline command line, `foldnorm`: one module per command, of its name.

`entry` says what to install, `app` prints errors as one line, `commands` imports a command when it
is asked for. Arguments, printing, and writing what was asked for: nothing is computed here.
"""
