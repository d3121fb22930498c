"""The HTTP host: one ASGI application, and the protocol that guards its connections."""
