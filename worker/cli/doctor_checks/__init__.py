"""What ``askrelay doctor`` looks at: one file per thing.

A check is a function that takes the settings and ``say``, and says what it finds as it finds it, so that one
that hangs half way has still told its first half. No check creates or changes anything.
"""
