"""Files as protobuf reads them, before they are models.

forms.py   forms that the reader does not know, in forms that it does
checks.py  whether all that is read is made, and operators get what they take
"""
