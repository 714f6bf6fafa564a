"""What a trained network is: its definition (`models.networks`) and its released form (`models.bundle`)."""
