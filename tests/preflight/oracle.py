"""
An oracle for the findings about rows: a second way from the rows of a capture to every count.

It shares no code with the app, and follows the platform's and XQueue's own rules: CAPA's keys, XQueue's comparison of
callbacks, and the rounding of edx-submissions 4.0.2.
"""

import functools
import json
import re
from collections import Counter, defaultdict
from datetime import datetime

from sandbox.lms import capa

LIMIT = 102_400
LEASE = 300
INPUTS = [f"_{response}_{number}" for response in range(2, 101) for number in range(1, 4)]
URL = re.compile(r"https?://[^/]+/courses/([^/]+(?:/[^/]+/[^/]+)?)/xqueue/(\d+)/(.+)/([a-z_]+)")


class Row:
    """One captured row, read by hand."""

    def __init__(self, columns):
        self.columns = columns
        self.id = columns["id"]
        self.queue = columns["queue_name"]
        self.problem, self.user, self.dispatch = "", "", ""
        self.url = json.loads(columns["xqueue_header"])["lms_callback_url"]
        if match := URL.fullmatch(self.url):
            _, self.user, self.problem, self.dispatch = match.groups()
        self.body = self._body()
        if self.body is None:
            self.problem = ""
        self.reply = self._reply()

    def _body(self):
        try:
            body = json.loads(self.columns["xqueue_body"])
            body["info"] = json.loads(body["student_info"])
            assert isinstance(body["info"]["anonymous_student_id"], str)
            assert "student_response" in body
        except (ValueError, TypeError, KeyError, AssertionError):
            return None
        return body if self.problem else None

    @functools.cached_property
    def input(self):
        """The candidate whose key CAPA would have made, or nothing."""
        if not self.body or self.dispatch != "score_update":
            return ""
        key = json.loads(self.columns["xqueue_header"])["lms_key"]
        info = self.body["info"]
        for candidate in INPUTS:
            answer_id = capa.html_id(self.problem) + candidate
            time = info.get("submission_time", "")
            if capa.make_key(int(self.user), time, info["anonymous_student_id"], answer_id) == key:
                return candidate
        return ""

    def _reply(self):
        try:
            return json.loads(self.columns["grader_reply"])
        except ValueError:
            return None

    def is_sent_again(self, other):
        return all(self.columns[name] == other.columns[name] for name in ("xqueue_header", "xqueue_body", "s3_keys"))

    def is_attempt_like(self, other):
        """Another attempt at the same input, by the same learner."""
        return bool(self.input) and (self.url, self.input) == (other.url, other.input)

    def stored(self, possible=1):
        """The points that edx-submissions 4.0.2 would store for the reply."""
        score = self.reply.get("score") if isinstance(self.reply, dict) else None
        return round(score * possible) if isinstance(score, int | float) and score >= 0 else None

    def is_valid_reply(self):
        reply = self.reply
        if not isinstance(reply, dict) or not {"correct", "score", "msg"} <= reply.keys():
            return False
        return isinstance(reply["msg"], str) and reply["msg"] != "" and isinstance(reply["score"], int | float)


def codes(row, family):
    """Names of all findings that one row shows by itself or together with the rows that share its callback."""
    found = set(_of_times(row))
    if row.body is None:
        return found | {"unreadable"}
    payload, info, answer = row.body.get("grader_payload"), row.body["info"], row.body["student_response"]
    found |= _of_payload(payload)
    if info.get("random_seed") != 1:
        found.add("random_seed")
    if "submission_time" in info:
        found.add("submission_time_format")
    if row.body.keys() - {"grader_payload", "student_info", "student_response", "info"}:
        found.add("body_extra_keys")
    if row.body.keys() >= {"token", "endpoint_version", "requestor_id"}:
        found.add("matlab")
    if answer is None:
        found.add("answer_null")
    elif len(json.dumps(answer)) > LIMIT:
        found.add("answer_over_limit")
    if any(other.url != row.url for other in family):
        found.add("callback_collision")
    if row.dispatch != "score_update":
        return found | {"matlab_plot"}
    if is_collided(row, family):
        found.add("collided")
    found.add("multi_input" if row.input else "input_unknown")
    return found | _of_reply(row)


def _of_payload(payload):
    if not payload:
        return {"payload_missing"}
    try:
        value = json.loads(payload)
    except ValueError:
        return {"payload_not_json"}
    if not isinstance(value, dict):
        return {"payload_not_an_object"}
    wanted = {"payload_no_grader": not value.get("grader"), "payload_extra_keys": bool(value.keys() - {"grader"})}
    return {code for code, applies in wanted.items() if applies}


def _of_times(row):
    pulled, returned = row.columns["pull_time"], row.columns["return_time"]
    if pulled and returned:
        seconds = (datetime.fromisoformat(returned) - datetime.fromisoformat(pulled)).total_seconds()
        return {"grading_over_lease"} if seconds > LEASE else set()
    return set()


def _of_reply(row):
    if row.columns["return_time"] is None:
        return set()
    stored = row.stored()
    if not row.is_valid_reply():
        return {"reply_refused" if stored is None else "reply_invalid"}
    score = row.reply["score"]
    if stored is None:
        return {"score_refused"}
    if score > 1:
        return {"score_out_of_range"}
    return {"score_rounded"} if stored != score else set()


def is_collided(row, family):
    """Retired by another input's or problem's submission: nobody has graded it, and nothing has replaced it."""
    if not row.columns["retired"] or row.columns["lms_ack"] or row.columns["num_failures"] > 3:
        return False
    if any(row.is_sent_again(other) and (other.id > row.id or not other.columns["retired"]) for other in family):
        return False
    newer = [other for other in family if other.id > row.id]
    return bool(newer) and not any(row.is_attempt_like(other) for other in newer)


def is_pair_for_history(row, family):
    """Graded, with a grade that reached the learner, and with nothing that the target would not hold or take."""
    columns, shown = row.columns, codes(row, family)
    if not (columns["retired"] and columns["lms_ack"] and columns["return_time"]) or row.stored() is None:
        return False
    if shown & {"unreadable", "answer_null", "answer_over_limit", "matlab_plot"}:
        return False
    if any(row.is_sent_again(other) and (other.id > row.id or not other.columns["retired"]) for other in family):
        return False
    newer = [other for other in family if other.id > row.id and row.is_attempt_like(other)]
    return not any(other.columns["arrival_time"] < columns["return_time"] for other in newer)


class Oracle:
    """What a preflight of one course must say, out of the rows of a whole capture."""

    def __init__(self, captured, course, case_counts):
        """``case_counts`` says whether the database tells "a" from "A": XQueue's comparison is the database's."""
        every = [Row(columns) for columns in captured]
        families = defaultdict(list)

        def callback(row):
            url = row.columns["lms_callback_url"][:128]
            return url if case_counts else url.lower()

        for row in every:
            families[callback(row)].append(row)
        self.rows = [row for row in every if f"/courses/{course}/" in row.columns["xqueue_header"]]
        self.counts = Counter()
        self.rows_with = defaultdict(list)
        self.history = Counter()
        inputs = defaultdict(set)
        for row in self.rows:
            family = [other for other in families[callback(row)] if other is not row]
            place = (row.queue, row.problem)
            inputs[place] |= {row.input} - {""}
            self.history[row.problem] += is_pair_for_history(row, family)
            for code in codes(row, family) | ({"points_unknown"} if row.problem else set()):
                self.counts[code, *place] += 1
                self.rows_with[code, *place].append(row.id)
        for place, several in inputs.items():
            if len(several) < 2:
                self.counts.pop(("multi_input", *place), None)
        self.inputs = {place: len(several) for place, several in inputs.items()}
