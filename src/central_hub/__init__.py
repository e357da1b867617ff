"""Central Hub: operational configuration for a fleet of services. Start reading in `service.py`."""
