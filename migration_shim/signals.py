"""Django signals that the app sends; a site may connect receivers to them."""

from django.dispatch import Signal

#: A round of ``xqueue_watch`` has found a course out of its bounds; sent again in every round while that lasts.
#: ``sender`` is the name of the command; arguments: ``course_id``, ``phase``, ``breaches`` (as in the document) and
#: ``stepped_back``, a bool. A receiver that raises is logged, and stops nothing.
course_out_of_bounds = Signal()
