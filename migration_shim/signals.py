"""Django signals that the app sends; a site may connect receivers to them."""

from django.dispatch import Signal

#: A round of ``xqueue_watch`` has found a course out of its bounds; sent again in every round while that lasts.
#: ``sender`` is the name of the command; arguments: ``course_id``, ``phase``, ``breaches`` (as in the document) and
#: ``stepped_back``, a bool. A receiver that raises is logged, and stops nothing.
course_out_of_bounds = Signal()

#: A campaign has done something with a course, or has stopped. ``sender`` is the name of the command; arguments:
#: ``campaign`` (its name), ``course_id`` ("" for all of its courses), ``what`` (a word: a phase, ``parked``,
#: ``failed``, ``paused``, ``done``) and ``text``. Sent after the transaction. A receiver that raises is logged, and
#: stops nothing.
campaign_told = Signal()
