"""The infrastructure under the services: how it is, who is hit when it is not well, and who is told."""
