"""A server that breaks HTTP byte by byte, for tests of clients."""
