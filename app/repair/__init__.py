"""What finds and mends what webhooks and pushes missed."""
