"""The commands of ``tandem``, one module per purpose; ``app.cli`` puts them together."""
