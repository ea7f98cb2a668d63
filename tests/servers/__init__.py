"""Private servers for tests: a RabbitMQ node and a PostgreSQL cluster of our own, gone when the tests end."""
