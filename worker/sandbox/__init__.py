"""A faithful local CustomGPT server: the demo, the tests and a user's own staging talk to it.

It imports nothing of the worker: a mistake that both shared would not show.

=====================  =====================================================================
``server``             one API call from arrival to its last byte
``routes``             which path is which call
``conversations``, ``messages``, ``projects``   what the calls do
``state``, ``shapes``  what is remembered, and how it looks on the wire
``effects``            the append-only ledger that tests judge by
``switches``           every behaviour of the API that is not known for certain
``faults``, ``mishaps``  what goes wrong: chosen by script or chance, then done to the connection
``control``            ``/_effects``, ``/_switches`` and ``/_faults``
``process``            a sandbox in a process of its own, for tests and the demo
=====================  =====================================================================
"""
