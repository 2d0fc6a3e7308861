"""
Two operations at once, in every order: an explorer that looks for what happens where two things meet.

- ``schedules.py``: what a schedule is, how it is written, and all of them for two operations.
- ``footprints.py``: which of them are the same run, by the tables that the two touch.
- ``scheduler.py``: plays one: two threads with connections of their own, of which one at a time may go on.
- ``operations.py``: what the app does, and the little world it does it in. All that touches the app is there.
- ``invariants.py``: what must hold afterwards, once everybody had time to finish.
- ``explorer.py``: plays the schedules of a pair, looks at each new outcome once, and says how to play one again.
- ``pairs.py``: which operations meet in which phase; ``test_pairs.py`` plays them.
"""
