"""The door: deliveries in, durably stored before they are acknowledged."""
