"""JSON Schemas and what they say of documents."""
