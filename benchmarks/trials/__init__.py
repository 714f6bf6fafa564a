"""What happens to requests when the server is overloaded, stopped, struck or changed."""
