"""What operators see and do: health, metrics, the JSON API."""
