"""Take a service's configuration from Central Hub, and run on without it."""
