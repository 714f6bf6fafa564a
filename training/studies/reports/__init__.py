"""What a study says, made from its committed rows alone: tables, figures, and the page of claims.

Nothing here reads a run folder or trains; everything can be made again from `docs/studies`.
"""
