"""What a webhook brought, decided and stored before Meta gets its 200: who it is, and what becomes of it."""
