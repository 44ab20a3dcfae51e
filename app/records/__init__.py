"""The canonical store: contacts with their facts, keys, links and history."""
