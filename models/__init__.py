"""What a trained network is.

Its definition is in `models.networks`, its released form in `models.bundle`.
"""
