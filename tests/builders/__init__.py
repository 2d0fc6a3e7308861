"""
What tests start from: each module builds one thing, and the tests of several folders use it.

Rows
    ``rows`` writes those of both systems and what the ledger says of them, and comes first; ``core_rows`` makes them
    without a database, ``many_rows`` by the thousand, ``odd_rows`` with ``hostile_text`` in them, ``in_flight`` on the
    target only; ``clean_pairs`` are equal on both sides, and ``changes`` is what graders and learners make of any.
Courses and learners
    ``live_courses`` to watch over, ``routed_course`` and ``attempts`` on the way through the router, ``handing_off``
    half-way to the target, ``waiting_learners`` who want a grade, ``other_lms`` with the same courses.
Systems
    ``xqueue_server`` in a process of its own, ``xqueue`` in this one, ``silence`` where its database should answer;
    ``watchers`` and ``pulling`` for graders of the target, ``replies`` for what these say; ``platform`` and
    ``lms_around_router`` for the LMS; ``outbox`` for its worker, ``slow_commands`` for its operator's commands.
Texts
    ``documents`` as the commands print them.
"""
