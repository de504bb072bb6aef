"""The newest features by the key of an entity, for services that answer one row at a time."""
