"""What is counted and logged, and the folder in which several processes count together.

Modules take names and numbers. They import nothing of what they count but the errors: it is handed
to them.
"""
