"""
Real CAPA problems and a learner who works on them: what the platform's problem block does around ``send_to_queue``.

Problem, responses, inputs and queue interface are the package xblocks-contrib's own. What is played here is the block:
it keeps the problem's state as JSON between requests, and it publishes a grade after every reply (``capa_block.py``).
"""

import gettext
import json
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from opaque_keys.edx.keys import CourseKey, UsageKey
from xblocks_contrib.problem.capa.capa_problem import LoncapaProblem, LoncapaSystem
from xblocks_contrib.problem.capa.xqueue_interface import XQueueInterface

from sandbox.lms import capa, grading
from sandbox.lms.blocks import Block, SubmittedFile, make_block
from sandbox.lms.courseware.models import StudentModule
from tests.builders.outbox import drain
from tests.builders.rows import COURSE, PAYLOAD, QUEUE, usage_key

ROOT = "https://courses.example.edu"
SQUARE = "def square(n):\n    return n * n\n"
WRONG_SQUARE = "def square(n):\n    return n\n"


def refusal(reason: str) -> str:
    """What CAPA tells a learner whose submission was not taken."""
    return f"Unable to deliver your submission to grader (Reason: {reason}). Please try again later."


def code_response(input_xml: str = "<textbox/>", queue: str = QUEUE, points: int = 1) -> str:
    """One ``coderesponse`` as a course author writes it."""
    payload = f"<grader_payload>{escape(PAYLOAD)}</grader_payload>"
    return (
        f'<coderesponse queuename="{queue}" points="{points}">{input_xml}'
        f"<codeparam><initial_display/><answer_display/>{payload}</codeparam></coderesponse>"
    )


def problem_xml(*responses: str) -> str:
    """A problem with these responses; one code input where none is given."""
    return f"<problem>{''.join(responses or (code_response(),))}</problem>"


CODE = problem_xml()
FILES = problem_xml(code_response('<filesubmission allowed_files="" required_files=""/>'))
TWO_INPUTS = problem_xml(code_response(), code_response())
MATLAB_INPUT = '<matlabinput rows="1" cols="1" mode="" tabsize="4"><plot_payload>plot</plot_payload></matlabinput>'
MATLAB = problem_xml(code_response(MATLAB_INPUT))


@dataclass(frozen=True, slots=True, kw_only=True)
class CapaBlock(Block):
    """The block, with what else CAPA and the platform's own path ask it."""

    @property
    def usage_key(self) -> UsageKey:
        """The location, as newer releases of the platform call it."""
        return self.location

    @property
    def context_key(self) -> CourseKey:
        """The course, as newer releases of the platform call it."""
        return self.course_id

    def correctness_available(self) -> bool:
        """Whether learners may see if they are right."""
        return True


@dataclass(kw_only=True)
class QueueService:
    """What the platform's XQueueService gives CAPA."""

    interface: Any
    callback: str
    default_queuename: str = "ExU-PY1"
    waittime: float = 0

    def construct_callback(self, dispatch: str = "score_update") -> str:
        """The problem's callback URL."""
        return self.callback.replace("/score_update", f"/{dispatch}")


def uploads(contents: dict[str, bytes]) -> list[SubmittedFile]:
    """Uploaded files as the block hands them to CAPA, by name."""
    return [SubmittedFile(SimpleUploadedFile(name, content)) for name, content in contents.items()]


@dataclass(kw_only=True)
class Learner:
    """One learner at one problem: the state that the platform keeps, and every grade that it published."""

    user: Any
    block: Block
    xml: str
    interface: Any
    matlab_api_key: str | None = None
    state: dict[str, Any] | None = None
    published: list[tuple[str, float]] = field(default_factory=list)
    """(where the reply came from, the points of the whole problem after it), one for each reply that arrived."""

    @property
    def usage_key(self) -> str:
        return str(self.block.location)

    @property
    def answer_ids(self) -> list[str]:
        return sorted(responder.answer_id for responder in self.problem().responders.values())

    def problem(self) -> LoncapaProblem:
        """The problem as a request finds it: made anew, with the state that the last one left."""
        anonymous_id = grading.global_anonymous_id(self.user)
        callback = capa.callback_url(ROOT, str(self.block.course_id), self.user.pk, self.usage_key)
        system = LoncapaSystem(
            ajax_url="/ajax",
            anonymous_student_id=anonymous_id,
            cache=None,
            can_execute_unsafe_code=lambda: False,
            get_python_lib_zip=lambda: None,
            DEBUG=False,
            i18n=gettext.NullTranslations(),
            render_template=lambda template, context: "<div/>",
            resources_fs=None,
            seed=self.user.pk,
            xqueue=QueueService(interface=self.interface, callback=callback),
            matlab_api_key=self.matlab_api_key,
        )
        state = json.loads(json.dumps(self.state))
        return LoncapaProblem(self.xml, self.block.location.html_id(), system, self.block, state=state, seed=3)

    def submit(self, *answers: Any, worker: bool = True) -> None:
        """
        Submit an answer (a text, or a list of files) for each input; the state is kept once CAPA is done.

        Then a worker does what the door has left to it.
        """
        problem = self.problem()
        problem.grade_answers(dict(zip(self.answer_ids, answers, strict=True)))
        self._save(problem)
        if worker:
            drain()

    def _save(self, problem: LoncapaProblem) -> None:
        """What the block does with the problem's state (``capa_block.set_state_from_lcp``), where the platform does."""
        self.state = json.loads(json.dumps(problem.get_state()))
        StudentModule.objects.update_or_create(
            student=self.user,
            module_state_key=self.usage_key,
            course_id=str(self.block.course_id),
            defaults={"state": json.dumps(self.state)},
        )

    def deliver(self, queuekey: str | None, reply: str, source: str) -> None:
        """Give a grader's reply to CAPA and publish what it makes of it (``capa_block.update_score``)."""
        problem = self.problem()
        problem.update_score(reply, queuekey)
        self._save(problem)
        self.published.append((source, problem.calculate_score()["score"]))

    def entries(self) -> list[dict[str, Any]]:
        """The correct map's entry of each input, in the order of the inputs."""
        return [self.state["correct_map"][answer_id] for answer_id in self.answer_ids]

    @property
    def queued(self) -> list[bool]:
        """Whether each input waits for a grader."""
        return [entry["queuestate"] is not None for entry in self.entries()]

    @property
    def graded(self) -> list[tuple[str | None, float | None]]:
        """(correctness, points) of each input."""
        return [(entry["correctness"], entry["npoints"]) for entry in self.entries()]

    @property
    def messages(self) -> list[str]:
        """What the learner reads below each input."""
        return [entry["msg"] for entry in self.entries()]


class Classroom:
    """Learners by user and problem, so that a delivery finds its learner's real CAPA problem."""

    def __init__(self) -> None:
        self.learners: dict[tuple[int, str], Learner] = {}

    def learner(
        self,
        url: str,
        xml: str = CODE,
        *,
        problem: str = "2dbfc989e430f3f666f0cb108c49bd4b",
        points: int = 1,
        account: tuple[str, str] = ("lms", "lms-password"),
        basic: Any = None,
        **more: Any,
    ) -> Learner:
        """A learner at a problem, whose queue interface the platform made with this URL and account."""
        user = get_user_model().objects.create_user(f"learner{len(self.learners)}")
        made = make_block(COURSE, usage_key(problem), user.pk, points)
        block = CapaBlock(scope_ids=made.scope_ids, course_id=made.course_id, points=made.points)
        auth = {"username": account[0], "password": account[1]}
        interface = XQueueInterface(url, auth, basic, block=block, **more)
        learner = Learner(user=user, block=block, xml=xml, interface=interface)
        self.learners[user.pk, learner.usage_key] = learner
        return learner

    def deliver(self, user: Any, course_id: str, usage_key: str, queuekey: str | None, reply: str, source: str) -> None:
        """Stand where the LMS stand-in has its model of CAPA (``sandbox.lms.grading.deliver``)."""
        self.learners[user.pk, usage_key].deliver(queuekey, reply, str(source))
