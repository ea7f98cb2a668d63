"""The adapters do: one folder or file per thing we talk to."""
