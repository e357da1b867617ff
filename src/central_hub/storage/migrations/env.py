"""Run by Alembic. The caller hands over an open connection in the configuration's attributes."""

from alembic import context

from central_hub.storage.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
