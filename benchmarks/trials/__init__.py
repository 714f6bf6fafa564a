"""What becomes of requests, and of trainings, when something is overloaded, stopped or struck."""
