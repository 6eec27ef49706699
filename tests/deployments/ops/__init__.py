"""What runs beside the service, each checked by its own tool."""
